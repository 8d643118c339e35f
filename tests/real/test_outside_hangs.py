"""Captures whose thread hangs in a call that nobody can interrupt: given up, and the host serves the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import captures, disks
from lab.domains import Guest
from lab.factory import Guests
from lab.faulty import Action, Fault, Plan
from lab.libvirtd import PrivateLibvirtd
from lab.matrix.lane import Breakable
from lab.service import Options
from lab.wait import until
from stillframe.capture.hangs import TIMES
from tests.real import live_tools as live
from tests.real.live_tools import MIB, Writing

STEP = 3.0  # seconds that a step may take
HANG = 25.0  # seconds, in place of for ever
OPTIONS: Options = {
    "agent": {"max_transfers": 1, "guard_grace": 60},
    "capture": {"freeze_timeout": 1.5, "agent_timeout": 1, "step_deadline": STEP, "transfer_stall": STEP},
    "ceph": {"timeout": STEP},
}
GIVEN_UP = TIMES * STEP + 6  # seconds, for a busy machine
MORE = pytest.mark.faults


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with live.directory() as path:
        yield path


@pytest.fixture(scope="module")
def writer(libvirtd: PrivateLibvirtd) -> Iterator[Writing]:
    with live.writing(libvirtd) as made:
        yield made[0]


@pytest.fixture(scope="module")
def other(libvirtd: PrivateLibvirtd, place: Path) -> Iterator[Guest]:
    guests = Guests(libvirtd, place)
    yield guests.define(disks.raw(place / "other", 16 * MIB, {"some": b"x" * MIB}))
    guests.remove()


@pytest.fixture(scope="module")
def service(libvirtd: PrivateLibvirtd, place: Path) -> Iterator[Breakable]:
    with Breakable(place / "service", libvirtd, OPTIONS, place) as service:
        yield service


def hung(service: Breakable, place: Path, guest: Guest, point: str) -> str:
    """A capture that hangs at this point."""
    plan = Plan(place)
    plan.arm(Fault(point, Action.HANG, since="step.plan.entered", seconds=HANG))
    capture = captures.begin(service, guest)
    until(plan.fired.exists, 20, f"{point} to be come to")
    return capture


@pytest.mark.parametrize(
    ("point", "code"),
    [
        ("lease.FrozenGuest.taken", "capture-hung"),
        pytest.param("image.publish.before", "publication-unknown", marks=MORE),
        pytest.param("lease.BackupJob.journaling", "capture-hung", marks=MORE),
        pytest.param("step.transfer.entered", "capture-hung", marks=MORE),
        pytest.param("bytes.written", "capture-hung", marks=MORE),
        pytest.param("image.publish.after", "publication-unknown", marks=MORE),
    ],
)
def test_a_thread_that_hangs_for_ever_costs_its_capture_and_nothing_else(
    point: str, code: str, service: Breakable, place: Path, writer: Writing, other: Guest
) -> None:
    capture = hung(service, place, writer.guest, point)

    shown = live.failed(service, capture, code, GIVEN_UP)

    assert shown["fault"]["hint"]
    assert all(step["ended_at"] for step in shown["steps"])
    assert shown["held"]
    until(lambda: writer.guest.on_domain(lambda domain: domain.jobInfo()[0]) == 0, 10, "the guest to have no job")
    writer.unharmed()
    assert "Its thread is here" in service.log()
    assert b"stillframe_strays 1.0" in service.get("/metrics").body
    captures.capture(service, other)
    captures.capture(service, writer.guest)
    assert captures.record(service, capture)["held"]  # while it hangs still

    live.tidy(service, writer.guest, deadline=HANG)
    assert service.get(f"/image/v2/images/{capture}").status == 404
    assert captures.record(service, capture)["fault"] == shown["fault"]
    until(lambda: b"stillframe_strays 0.0" in service.get("/metrics").body, 10, "nobody to hang any more")


@MORE
def test_a_thread_that_hangs_while_it_gives_back_leaves_the_image(
    service: Breakable, place: Path, writer: Writing, other: Guest
) -> None:
    capture = hung(service, place, writer.guest, "lease.OwnFile.giving-back")

    shown = captures.completed(service, capture, GIVEN_UP)

    assert shown["held"]
    captures.capture(service, other)
    live.tidy(service, writer.guest, deadline=HANG)
    assert service.get(f"/image/v2/images/{capture}").status == 200


@MORE
def test_a_service_with_a_thread_that_hangs_ends_on_sigterm_and_gives_back_when_it_starts_again(
    service: Breakable, place: Path, writer: Writing
) -> None:
    capture = hung(service, place, writer.guest, "lease.HalfImage.taken")
    live.failed(service, capture, "capture-hung", GIVEN_UP)

    assert service.stop(10) == 0

    service.start()
    live.tidy(service, writer.guest)
    writer.unharmed()
