"""The queue, what a server shows in each phase, and cancelling in each phase."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from lab import captures, disks
from lab.disks import GuestDisk
from lab.domains import Guest
from lab.factory import Guests
from lab.libvirtd import PrivateLibvirtd
from lab.service import Service
from lab.wait import until
from tests.real import live_tools as live
from tests.real.live_tools import MIB, SLOWLY, Writing

SOON = 3.0  # seconds: one or two on an idle machine


@pytest.fixture(scope="module")
def service(libvirtd: PrivateLibvirtd) -> Iterator[Service]:
    with live.serving(libvirtd, {"agent": {"max_transfers": 1, "progress_interval": 0.2}}) as service:
        yield service


@pytest.fixture(scope="module")
def stopped(libvirtd: PrivateLibvirtd) -> Iterator[list[tuple[Guest, GuestDisk]]]:
    """Guests that do not run: the cheap source of one holds without any cost."""
    with live.directory() as path:
        guests = Guests(libvirtd, path)
        made = [disks.raw(path / f"disk{number}", 16 * MIB, {"some": b"x" * 3 * MIB}) for number in range(3)]
        yield [(guests.define(disk), disk) for disk in made]
        guests.remove()


def task_state(service: Service, guest: Guest) -> str | None:
    server: dict[str, Any] = service.get(f"/v2.1/servers/{guest.id}").body["server"]
    state: str | None = server["OS-EXT-STS:task_state"]
    return state


def shows(service: Service, guest: Guest, state: str | None) -> None:
    until(lambda: task_state(service, guest) == state, 10, f"task_state {state}")


def cancel(service: Service, capture: str) -> None:
    assert service.request("DELETE", f"/v2.1/captures/{capture}").status == 202


def delete_image(service: Service, capture: str) -> None:
    assert service.request("DELETE", f"/image/v2/images/{capture}").status == 204


def cancelled_soon(service: Service, capture: str) -> None:
    began = time.monotonic()
    shown = captures.ended(service, capture)
    assert shown["status"] == "cancelled", shown
    assert time.monotonic() - began < SOON


def seconds(one: dict[str, Any]) -> float:
    ended, started = (datetime.fromisoformat(one[key]) for key in ("ended_at", "started_at"))
    return (ended - started).total_seconds()


# ------------------------------------------------------------------------------------------------------- the queue


def test_the_rest_wait_in_their_order_and_cheap_ones_hold_their_instant(
    service: Service, writer: Writing, stopped: list[tuple[Guest, GuestDisk]]
) -> None:
    (one, _), (two, _), (three, _) = stopped
    first = captures.begin(service, one, bandwidth=SLOWLY)
    captures.moving(service, first)
    shows(service, one, "image_uploading")
    live_one = captures.begin(service, writer.guest)
    cheap = captures.begin(service, two)
    last = captures.begin(service, three)

    held = captures.reached(service, cheap, "held")
    captures.reached(service, last, "held")
    live.in_step(service, live_one, "plan")
    assert captures.record(service, first)["phase"] == "transferring"
    assert held["captured_at"] is not None
    assert captures.record(service, live_one)["captured_at"] is None
    assert task_state(service, two) == "image_pending_upload"
    assert task_state(service, writer.guest) == "image_snapshot_pending"

    cancel(service, last)
    cancelled_soon(service, last)
    assert captures.record(service, first)["phase"] == "transferring"
    ended = [captures.completed(service, each) for each in (first, live_one, cheap)]
    assert [each["ended_at"] for each in ended] == sorted(each["ended_at"] for each in ended)
    assert ended[2]["captured_at"] == held["captured_at"]
    live.tidy(service, writer.guest)


def test_a_server_shows_its_capture_and_takes_no_second(service: Service, writer: Writing) -> None:
    live.hook_agent(writer.guest, freeze="sleep 2")
    capture = captures.begin(service, writer.guest, bandwidth=SLOWLY)
    shows(service, writer.guest, "image_snapshot")
    captures.moving(service, capture)
    shows(service, writer.guest, "image_uploading")

    answer = service.request(
        "POST", f"/v2.1/servers/{writer.guest.id}/action", {"createImage": {"name": "second", "metadata": {}}}
    )

    assert answer.status == 409
    words = f"Cannot 'createImage' instance {writer.guest.id} while it is in task_state image_uploading"
    assert answer.body["conflictingRequest"]["message"] == words
    captures.completed(service, capture)
    assert task_state(service, writer.guest) is None
    live.tidy(service, writer.guest)


def test_the_bandwidth_is_kept(service: Service, stopped: list[tuple[Guest, GuestDisk]]) -> None:
    shown = captures.capture(service, stopped[0][0], bandwidth=MIB)
    step = live.step(shown, "transfer vda")
    assert step is not None
    assert step["bytes"] / seconds(step) == pytest.approx(MIB, rel=0.2)


# ------------------------------------------------------------------------------------------------------- cancelling

BOTH_WAYS = pytest.mark.parametrize("end", [cancel, delete_image], ids=["the capture", "the image"])
End = Callable[[Service, str], None]


@BOTH_WAYS
def test_cancelled_while_bytes_move(end: End, service: Service, writer: Writing) -> None:
    capture = captures.begin(service, writer.guest, bandwidth=SLOWLY)
    captures.moving(service, capture)

    end(service, capture)
    cancel(service, capture)  # twice is fine

    cancelled_soon(service, capture)
    assert service.get(f"/image/v2/images/{capture}").status == 404
    cancel(service, capture)  # and so is asking for what has come true
    live.tidy(service, writer.guest)


def test_cancelled_in_the_middle_of_a_freeze(service: Service, writer: Writing) -> None:
    live.hook_agent(writer.guest, freeze="sleep 1")
    said = len(writer.guest.serial())
    capture = captures.begin(service, writer.guest)
    writer.guest.line("LAB freeze hook", 30, after=said)

    cancel(service, capture)

    shown = captures.ended(service, capture, 5)
    assert (shown["status"], shown["captured_at"]) == ("cancelled", None)
    live.tidy(service, writer.guest)


@BOTH_WAYS
def test_cancelled_in_the_queue(
    end: End, service: Service, writer: Writing, stopped: list[tuple[Guest, GuestDisk]]
) -> None:
    first = captures.begin(service, stopped[0][0], bandwidth=SLOWLY)
    captures.moving(service, first)
    waiting = captures.begin(service, writer.guest)
    held = captures.begin(service, stopped[1][0])
    live.in_step(service, waiting, "plan")
    captures.reached(service, held, "held")

    for capture in (waiting, held):
        end(service, capture)
    for capture in (waiting, held):
        cancelled_soon(service, capture)
    end(service, first)
    cancelled_soon(service, first)
    live.tidy(service, writer.guest)


def test_what_has_ended_cannot_be_cancelled(service: Service, stopped: list[tuple[Guest, GuestDisk]]) -> None:
    shown = captures.capture(service, stopped[0][0])
    answer = service.request("DELETE", f"/v2.1/captures/{shown['id']}")
    assert answer.status == 409
    assert "already ended" in answer.body["conflictingRequest"]["message"]
    delete_image(service, shown["id"])
    assert service.get(f"/image/v2/images/{shown['id']}").status == 404


def test_of_cancel_and_publication_exactly_one_wins(service: Service, stopped: list[tuple[Guest, GuestDisk]]) -> None:
    guest = stopped[0][0]
    shown = captures.capture(service, guest)
    usual = seconds({"started_at": shown["created_at"], "ended_at": shown["ended_at"]})
    for part in (0.5, 0.7, 0.8, 0.9, 1.0, 1.1):
        capture = captures.begin(service, guest)
        time.sleep(usual * part)  # the race itself: where it hits is left to chance
        answer = service.request("DELETE", f"/v2.1/captures/{capture}").status
        status = captures.ended(service, capture)["status"]
        assert (answer, status) in {(202, "cancelled"), (409, "completed")}
        assert service.get(f"/image/v2/images/{capture}").status == (200 if status == "completed" else 404)
        assert (service.images / f"{capture}.json").exists() == (status == "completed")
    live.tidy(service)
