"""Captures as a client of the service asks for them and follows them."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

from lab.disks import GuestDisk
from lab.domains import Guest
from lab.service import Service
from lab.wait import until

FINAL = ("completed", "failed", "cancelled")
DEADLINE = 60.0


class Refused(AssertionError):  # noqa: N818 - reads as what it says
    """The service did not accept a capture."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status


class EndedOtherwise(AssertionError):  # noqa: N818
    """A capture ended before it should, or in another way."""


def _unended(shown: dict[str, Any]) -> dict[str, Any]:
    if shown["status"] in FINAL:
        raise EndedOtherwise(shown)
    return shown


def known(service: Service, guest: Guest, status: str | None = None, deadline: float = DEADLINE) -> dict[str, Any]:
    """The server as the API shows it, once the service knows it (with this status)."""

    def shown() -> dict[str, Any] | None:
        answer = service.get(f"/v2.1/servers/{guest.id}")
        server: dict[str, Any] | None = answer.body["server"] if answer.status == 200 else None
        return server if server and status in (None, server["status"]) else None

    return until(shown, deadline, f"server {guest.name} to be {status or 'known'}")


def begin(service: Service, guest: Guest, **wishes: Any) -> str:
    """Asks for a capture, with wishes as POST /v2.1/captures takes them; its id. Raises Refused."""
    known(service, guest)
    capture = {"server_id": guest.id, "name": "image", **wishes}
    answer = service.request("POST", "/v2.1/captures", {"capture": capture})
    if answer.status != 202:
        raise Refused(answer.status, answer.body)
    identity: str = answer.body["capture"]["id"]
    return identity


def record(service: Service, capture_id: str) -> dict[str, Any]:
    """The capture as the API shows it."""
    answer = service.get(f"/v2.1/captures/{capture_id}")
    if answer.status != HTTPStatus.OK:
        raise Refused(answer.status, answer.body)
    shown: dict[str, Any] = answer.body["capture"]
    return shown


def reached(service: Service, capture_id: str, phase: str, deadline: float = DEADLINE) -> dict[str, Any]:
    """The record once the capture is in this phase; raises EndedOtherwise when it ends before."""

    def there() -> dict[str, Any] | None:
        shown = record(service, capture_id)
        return shown if shown["phase"] == phase or not _unended(shown) else None

    return until(there, deadline, f"capture {capture_id} to be {phase}", pause=0.01)


def moving(service: Service, capture_id: str, deadline: float = DEADLINE) -> dict[str, Any]:
    """The record once bytes move."""

    def there() -> dict[str, Any] | None:
        shown = record(service, capture_id)
        return _unended(shown) if shown["progress"]["bytes_done"] else None

    return until(there, deadline, f"bytes of capture {capture_id} to move")


def ended(service: Service, capture_id: str, deadline: float = DEADLINE) -> dict[str, Any]:
    """The record once the capture has ended."""
    return until(
        lambda: shown if (shown := record(service, capture_id))["status"] in FINAL else None,
        deadline,
        f"the end of capture {capture_id}",
    )


def completed(service: Service, capture_id: str, deadline: float = DEADLINE) -> dict[str, Any]:
    """The record of a capture that ended well."""
    shown = ended(service, capture_id, deadline)
    if shown["status"] != "completed":
        raise EndedOtherwise(shown)
    return shown


def failed(service: Service, capture_id: str, code: str, deadline: float = DEADLINE) -> dict[str, Any]:
    """The record of a capture that failed with this code."""
    shown = ended(service, capture_id, deadline)
    if shown["status"] != "failed" or shown["fault"]["code"] != code:
        raise EndedOtherwise(shown)
    return shown


def told(shown: dict[str, Any]) -> str:
    """All words of a record that its owner may read, who is no operator of the host."""
    fault = shown["fault"] or {"message": "", "hint": ""}
    steps = [step["message"] for step in shown["steps"]]
    return "\n".join([fault["message"], fault["hint"], *shown["refused"], *steps])


def told_operator(shown: dict[str, Any]) -> str:
    """The words of a record that only an operator of the host may read."""
    fault = shown["fault"] or {"operator": ""}
    steps = [step["operator"] for step in shown["steps"]]
    return "\n".join([fault["operator"], *steps])


def published(service: Service) -> list[str]:
    """Names of all files in the image directory that are no lock."""
    return sorted(path.name for path in service.images.iterdir() if path.name not in (".lock", "lost+found"))


def capture(service: Service, guest: Guest, **wishes: Any) -> dict[str, Any]:
    """One capture, from the wish to its good end."""
    return completed(service, begin(service, guest, **wishes))


def image(service: Service, shown: dict[str, Any], disk: GuestDisk, number: int = 0) -> GuestDisk:
    """The image of a completed capture, as a disk like the one it was made from."""
    made = shown["images"][number]
    return replace(disk, path=Path(service.images / f"{made['id']}.{made['disk_format']}"), format=made["disk_format"])


def left_behind(service: Service, guest: Guest | None = None) -> list[str]:
    """Whatever a capture that has ended must not leave: files, sockets, processes, jobs, leases, states, in words."""
    found = [f"scratch {path.name}" for path in service.scratch.iterdir() if path.name != "lost+found"]
    found += [f"socket directory {path.name}" for path in (service.state / "run").iterdir()]
    found += [f"half image {path.name}" for path in service.images.glob("*.part")]
    found += [f"copy {path.name}" for path in service.images.glob(".*.held")]
    shown = service.get("/v2.1/captures").body["captures"]
    found += [f"lease of {each['id']}: {held}" for each in shown for held in record(service, each["id"])["held"]]
    for server in service.get("/v2.1/servers/detail").body["servers"]:
        if server["OS-EXT-STS:task_state"] is not None:
            found.append(f"task_state {server['OS-EXT-STS:task_state']} of {server['name']}")
    if guest is not None:
        found += _of_guest(guest)
    return found


def _of_guest(guest: Guest) -> list[str]:
    job = guest.on_domain(lambda domain: domain.jobInfo()[0] if domain.isActive() else 0)
    found = [f"job {job} of {guest.name}"] if job else []
    if guest.running and guest.spec.agent and guest.agent("guest-fsfreeze-status") != "thawed":
        found.append(f"{guest.name} is frozen")
    return found
