"""Cinder's v3 API, as far as captures need it, as somebody."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from keystoneauth1 import exceptions as keystone
from keystoneauth1.adapter import Adapter
from requests import Response

from stillframe.cloudaccess import REPEATABLE, answered, why
from stillframe.errors.base import StillframeError
from stillframe.errors.cinder import (
    CinderFailed,
    CinderUnreachable,
    VolumeForbidden,
    VolumeQuotaExceeded,
    VolumeRefused,
)
from stillframe.model import RbdPlace

Record = dict[str, Any]

MARK = "stillframe_image"  # in a snapshot's metadata: the image that it was made for, which proves that it is ours
ATTACHMENTS, FILTERS = "3.27", "3.22"  # microversions: attachments as they are, snapshots found by their metadata


class Cinder:
    """One somebody's calls; any number of threads. Each has a deadline, and raises a StillframeError of its cause."""

    def __init__(self, adapter: Adapter, timeout: float) -> None:
        """`timeout` in seconds, for each answer."""
        self._adapter = adapter
        self._timeout = timeout

    def volume(self, volume_id: str) -> Record:
        """As Cinder shows it to us."""
        found: Record = self._ask("GET", f"/volumes/{volume_id}", f"show volume {volume_id}")["volume"]
        return found

    def place(self, volume_id: str, instance_id: str) -> RbdPlace | None:
        """Where a volume is, and as whom its instance's host gets there; None: it is not on RBD, or not attached."""
        query = {"instance_id": instance_id, "volume_id": volume_id}
        what = f"tell how volume {volume_id} is attached"
        shown = self._ask("GET", "/attachments/detail", what, version=ATTACHMENTS, params=query)["attachments"]
        return next(filter(None, map(_place, shown)), None)

    def snapshot(self, volume_id: str, name: str, description: str | None, image_id: str) -> str:
        """Asks for a snapshot of a volume in use, marked as made for this image; its id. It takes its time."""
        wanted = {
            "volume_id": volume_id,
            "name": name,
            "description": description,
            "force": True,
            "metadata": {MARK: image_id},
        }
        made = self._ask("POST", "/snapshots", f"take a snapshot of volume {volume_id}", json={"snapshot": wanted})
        return str(made["snapshot"]["id"])

    def snapshot_status(self, snapshot_id: str) -> str:
        """In Cinder's words: creating, available, error."""
        shown = self._ask("GET", f"/snapshots/{snapshot_id}", f"show snapshot {snapshot_id}")
        return str(shown["snapshot"]["status"])

    def snapshots_for(self, image_id: str) -> list[Record]:
        """All snapshots of all projects that were made for this image."""
        query = {"all_tenants": "1", "metadata": json.dumps({MARK: image_id}).replace('"', "'")}
        what = f"list the snapshots that were made for image {image_id}"
        shown = self._ask("GET", "/snapshots/detail", what, version=FILTERS, params=query)["snapshots"]
        return [each for each in shown if each["metadata"].get(MARK) == image_id]

    def delete_snapshot(self, snapshot_id: str) -> None:
        """Asks for it; one that is gone is fine, one that is still being made is refused."""
        answer = self._answer("DELETE", f"/snapshots/{snapshot_id}")
        if answer.status_code != HTTPStatus.NOT_FOUND:
            _check(answer, f"delete snapshot {snapshot_id}")

    # ------------------------------------------------------------------------------------------------- its answers

    def _ask(self, method: str, path: str, what: str, version: str | None = None, **more: Any) -> Record:
        found: Record = _check(self._answer(method, path, version, **more), what).json()
        return found

    def _answer(self, method: str, path: str, version: str | None = None, **more: Any) -> Response:
        """Whatever it answers; raises CinderUnreachable."""
        repeatable = method in REPEATABLE
        try:
            return answered(
                self._adapter, path, method, repeatable=repeatable, timeout=self._timeout, microversion=version, **more
            )
        except keystone.ClientException as error:
            raise CinderUnreachable(reason=why(error), operator=str(error)) from error


def _check(answer: Response, what: str) -> Response:
    if answer.status_code >= HTTPStatus.BAD_REQUEST:
        raise refusal(answer.status_code, answer.text, what)
    return answer


def refusal(status: int, body: str, what: str) -> StillframeError:
    """The failure that an answer stands for; `what` was to be done, as in "delete snapshot X"."""
    reason = _words(body) or str(status)
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return VolumeQuotaExceeded(what=what, reason=reason)
    if status in (HTTPStatus.FORBIDDEN, HTTPStatus.UNAUTHORIZED):
        return VolumeForbidden(what=what, reason=reason)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return CinderFailed(what=what, answer=status, operator=reason)
    return VolumeRefused(what=what, reason=reason)


def _words(body: str) -> str:
    """The sentence in one of Cinder's faults, which have one key of any name."""
    try:
        [fault] = json.loads(body).values()
        text = str(fault["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        text = body
    return " ".join(text.split())[:300].rstrip(".")


def _place(attachment: Mapping[str, Any]) -> RbdPlace | None:
    """Where an attachment's connection leads; the key is libvirt's to tell."""
    connection = attachment.get("connection_info") or {}
    pool, _, image = str(connection.get("name", "")).partition("/")
    if connection.get("driver_volume_type") != "rbd" or not image:
        return None
    hosts = zip(connection.get("hosts") or (), connection.get("ports") or (), strict=False)
    return RbdPlace(
        pool,
        image,
        monitors=tuple(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in hosts),
        user=connection.get("auth_username"),
        secret=connection.get("secret_uuid"),
    )
