"""What the commands ask of the service, in words of the API."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any
from uuid import UUID

from stillframe.cli.connect import Place
from stillframe.cli.http import Http
from stillframe.errors.base import Reported
from stillframe.errors.client import NameAmbiguous
from stillframe.errors.request import ImageNotFound, InstanceNotFound

PAGE = 500  # items asked for at once

Json = dict[str, Any]


class Client:
    """One service: servers, captures and images."""

    def __init__(self, place: Place) -> None:
        self._compute = Http(place.session, f"{place.compute}/v2.1", place.name)
        self._image = Http(place.session, f"{place.image}/v2", place.name)

    def servers(self, limit: int = 0, **filters: Any) -> Iterator[Json]:
        """Servers with details, at most `limit` (0: all)."""
        return _items(self._compute, "/servers/detail", "servers", limit, filters)

    def server(self, wanted: str) -> Json:
        """The server of this id or name; raises InstanceNotFound, NameAmbiguous."""
        if is_uuid(wanted):
            try:
                return self._shown(wanted)
            except Reported as error:
                if error.fault.status != 404:
                    raise
        pattern = f"^{re.escape(wanted)}$"  # the API takes Nova's regular expressions, whatever the case
        named = [server for server in self.servers(name=pattern) if server["name"] == wanted]
        if not named:
            raise InstanceNotFound(instance=wanted)
        return self._shown(_only(named, "server", wanted)["id"])

    def _shown(self, server_id: str) -> Json:
        """With what a list leaves out."""
        found: Json = self._compute.get(f"/servers/{server_id}")["server"]
        return found

    def create_image(self, server_id: str, name: str, metadata: Mapping[str, str]) -> str:
        """Plain createImage; the id of the image, which is also that of the capture."""
        body = {"createImage": {"name": name, "metadata": dict(metadata)}}
        return str(self._compute.post(f"/servers/{server_id}/action", body)["image_id"])

    def create_capture(self, request: Mapping[str, Any]) -> str:
        """A capture with wishes; its id."""
        return str(self._compute.post("/captures", {"capture": dict(request)})["capture"]["id"])

    def captures(self, limit: int = 0, **filters: Any) -> Iterator[Json]:
        """Captures, newest first, at most `limit` (0: all)."""
        return _items(self._compute, "/captures", "captures", limit, filters)

    def capture(self, capture_id: str) -> Json:
        """The capture of this id."""
        found: Json = self._compute.get(f"/captures/{capture_id}")["capture"]
        return found

    def cancel(self, capture_id: str) -> None:
        """Asks for the end of a capture; it ends a little later."""
        self._compute.delete(f"/captures/{capture_id}")

    def images(self, limit: int = 0, **filters: Any) -> Iterator[Json]:
        """Images, newest first, at most `limit` (0: all)."""
        return _items(self._image, "/images", "images", limit, filters)

    def image(self, wanted: str) -> Json:
        """The image of this id or name; raises ImageNotFound, NameAmbiguous."""
        if is_uuid(wanted):
            try:
                return self._image.get(f"/images/{wanted}")
            except Reported as error:
                if error.fault.status != 404:
                    raise
        named = list(self.images(name=wanted))
        if not named:
            raise ImageNotFound(image=wanted)
        return _only(named, "image", wanted)

    def delete_image(self, image_id: str) -> None:
        """Deletes the image; its capture, if it still runs, is cancelled by that."""
        self._image.delete(f"/images/{image_id}")

    @contextmanager
    def image_data(self, image_id: str, chunk: int) -> Iterator[Iterator[bytes]]:
        """The image's bytes in chunks of this size."""
        with closing(self._image.stream(f"/images/{image_id}/file")) as response:
            yield response.iter_content(chunk)


def is_uuid(text: str) -> bool:
    """True for an id as the API writes it."""
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def _items(http: Http, path: str, key: str, limit: int, filters: Mapping[str, Any]) -> Iterator[Json]:
    """The first `limit` items of a list (0: all), asked for page by page."""
    page = min(PAGE, limit) if limit else PAGE
    return islice(_pages(http, path, key, {**filters, "limit": page}), limit or None)


def _pages(http: Http, path: str, key: str, query: Mapping[str, Any]) -> Iterator[Json]:
    marker: str | None = None
    while True:
        answer = http.get(path, **query, marker=marker)
        items = answer[key]
        yield from items
        if not items or not (answer.get(f"{key}_links") or answer.get("next")):
            return
        marker = items[-1]["id"]


def _only(found: list[Json], what: str, wanted: str) -> Json:
    if len(found) > 1:
        raise NameAmbiguous(what=what, name=wanted, ids=", ".join(sorted(item["id"] for item in found)))
    return found[0]
