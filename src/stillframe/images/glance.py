"""Glance's v2 API, as somebody: the user who asks, or this process's own service user."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from keystoneauth1 import exceptions as keystone
from keystoneauth1.adapter import Adapter
from requests import Response

from stillframe.cloudaccess import REPEATABLE, CloudAccess, answered, why
from stillframe.config import Settings
from stillframe.errors.base import StillframeError
from stillframe.errors.glance import GlanceFailed, GlanceUnreachable, ImageForbidden, ImageQuotaExceeded, ImageRefused
from stillframe.errors.request import ImageNotFound

PATCH = "application/openstack-images-v2.1-json-patch"
LISTED = 50  # images asked for at once: their ids make the URL

Record = dict[str, Any]


class Access:
    """The way to Glance that the options tell."""

    def __init__(self, settings: Settings) -> None:
        """Connects when it is first used."""
        self._access = CloudAccess(settings, "glance", "image")
        self._timeout = settings.glance.timeout

    def as_user(self, auth: object, request_id: str) -> Glance:
        """As whoever sent a request; `auth` is the keystoneauth plugin of his token."""
        return Glance(self._access.as_user(auth, request_id), self._timeout)

    def as_service(self) -> Glance:
        """As [service_user]; raises ConfigInvalid where there is none."""
        return Glance(self._access.as_service(), self._timeout)


class Glance:
    """One somebody's calls; any number of threads. Each has a deadline, and raises a StillframeError of its cause."""

    def __init__(self, adapter: Adapter, timeout: float) -> None:
        """`timeout` in seconds, for each answer."""
        self._adapter = adapter
        self._timeout = timeout

    def url(self, *, interface: str | None = None) -> str:
        """Its v2 API's, by the catalogue or the options; `interface`: whose, instead of our own."""
        with _reached():
            found = self._adapter.get_endpoint(interface=interface or self._adapter.interface)
        if not found:
            raise GlanceUnreachable(reason="the catalogue has no endpoint of the image service")
        return f"{found.rstrip('/').removesuffix('/v2')}/v2"

    def token(self) -> str:
        """A token that is good now."""
        with _reached():
            return str(self._adapter.get_token())

    def forget_token(self) -> None:
        """It was refused: the next one is a new one."""
        self._adapter.invalidate()

    @property
    def verify(self) -> bool | str:
        """How certificates are checked: requests' verify."""
        found = self._adapter.session.verify
        return True if found is None else found

    # ------------------------------------------------------------------------------------------------------ calls

    def create(self, record: Record) -> None:
        """Makes an image's record; raises what Glance says against it."""
        self._ask("POST", "/images", f"make the record of image {record['id']}", json=record)

    def share(self, image_id: str, project: str) -> None:
        """Makes a project a member of a shared image; one that is already is fine."""
        answer = self._answer("POST", f"/images/{image_id}/members", json={"member": project})
        if answer.status_code != HTTPStatus.CONFLICT:
            _check(answer, f"share image {image_id}")

    def get(self, image_id: str) -> Record:
        """Raises ImageNotFound."""
        answer = self._answer("GET", f"/images/{image_id}")
        if answer.status_code == HTTPStatus.NOT_FOUND:
            raise ImageNotFound(image=image_id)
        return _json(_check(answer, f"show image {image_id}"))

    def update(self, image_id: str, values: Mapping[str, Any]) -> None:
        """Sets attributes and properties, whether they were set before or not."""
        changes = [{"op": "add", "path": f"/{_escaped(name)}", "value": value} for name, value in values.items()]
        self._change(image_id, changes)

    def delete(self, image_id: str) -> None:
        """One that is gone is fine; raises ImageForbidden for a protected one."""
        answer = self._answer("DELETE", f"/images/{image_id}")
        if answer.status_code not in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            _check(answer, f"delete image {image_id}")

    def present(self, image_ids: Iterable[str]) -> set[str]:
        """Those of these ids, at most LISTED, that there are images of."""
        query = {"id": f"in:{','.join(image_ids)}", "visibility": "all", "limit": str(LISTED)}
        return {image["id"] for image in self._list(query)}

    def newest(self) -> Record | None:
        """The youngest image that has its data, of those that we see."""
        found = self._list({"status": "active", "sort": "created_at:desc", "limit": "1"})
        return found[0] if found else None

    def stores(self) -> list[Record]:
        """Its stores with their details, as administrators are told them; none where it has one without a name."""
        answer = self._answer("GET", "/info/stores/detail")
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return []
        return list(_json(_check(answer, "tell its stores"))["stores"])

    def store_names(self) -> set[str]:
        """Its stores, as everybody is told them; none where it has one without a name."""
        answer = self._answer("GET", "/info/stores")
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return set()
        return {store["id"] for store in _json(_check(answer, "tell its stores"))["stores"]}

    def add_location(self, image_id: str, url: str) -> None:
        """By its location API, which goes on with it after its answer; raises what Glance says against it."""
        answer = self._answer("POST", f"/images/{image_id}/locations", json={"url": url})
        _check(answer, f"take the location of image {image_id}")

    def set_location(self, image_id: str, url: str) -> None:
        """By a change of the record, as only a Glance allows that shows locations; raises what it says against it."""
        self._change(image_id, [{"op": "add", "path": "/locations/-", "value": {"url": url, "metadata": {}}}])

    def locations(self, image_id: str) -> list[str]:
        """Where an image's bytes are; raises what Glance says against telling it."""
        answer = self._answer("GET", f"/images/{image_id}/locations")
        found: list[Record] = _check(answer, f"tell the locations of image {image_id}").json()
        return [each["url"] for each in found]

    def tasks(self, image_id: str) -> list[Record]:
        """What it has done or does about an image by itself."""
        told = self._ask("GET", f"/images/{image_id}/tasks", f"tell what it does about image {image_id}")
        return list(told["tasks"])

    def _list(self, query: Mapping[str, str]) -> list[Record]:
        answer = self._ask("GET", "/images", "list images", params=dict(query))
        found: list[Record] = answer["images"]
        return found

    # ------------------------------------------------------------------------------------------------- their answers

    def _change(self, image_id: str, changes: list[Record]) -> None:
        answer = self._answer("PATCH", f"/images/{image_id}", json=changes, headers={"Content-Type": PATCH})
        if answer.status_code == HTTPStatus.NOT_FOUND:
            raise ImageNotFound(image=image_id)
        _check(answer, f"change image {image_id}")

    def _ask(self, method: str, path: str, what: str, **more: Any) -> Record:
        return _json(_check(self._answer(method, path, **more), what))

    def _answer(self, method: str, path: str, **more: Any) -> Response:
        """Whatever it answers; raises GlanceUnreachable."""
        url, repeatable = self.url() + path, method in REPEATABLE
        with _reached():
            return answered(self._adapter, url, method, repeatable=repeatable, timeout=self._timeout, **more)


@contextmanager
def _reached() -> Iterator[None]:
    """Turns what keystoneauth raises on the way into our own words."""
    try:
        yield
    except keystone.ClientException as error:
        raise GlanceUnreachable(reason=why(error), operator=str(error)) from error


def _json(answer: Response) -> Record:
    found: Record = answer.json()
    return found


def _check(answer: Response, what: str) -> Response:
    if answer.status_code >= HTTPStatus.BAD_REQUEST:
        raise refusal(answer.status_code, answer.text, what)
    return answer


def refusal(status: int, body: str, what: str) -> StillframeError:
    """The failure that an answer stands for; `what` was to be done, as in "delete image X"."""
    reason = words(body) or str(status)
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return ImageQuotaExceeded(what=what, reason=reason)
    if status in (HTTPStatus.FORBIDDEN, HTTPStatus.UNAUTHORIZED):
        return ImageForbidden(what=what, reason=reason)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return GlanceFailed(what=what, answer=status, operator=reason)
    return ImageRefused(what=what, reason=reason)


def words(body: str) -> str:
    """The sentence in one of Glance's answers: JSON, or a page of which it comes after the heading."""
    try:
        text = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        text = body.partition("</h1>")[2].partition("</body>")[0] or body
    return " ".join(text.replace("<br />", " ").replace("<br/>", " ").split())[:300].rstrip(".")


def _escaped(name: str) -> str:
    """As JSON pointers want it."""
    return name.replace("~", "~0").replace("/", "~1")
