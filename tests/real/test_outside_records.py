"""What the records stand on: a clock that jumps, a database that is locked, a state directory that is full; and
images that are deleted while they are made."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lab import captures, disks
from lab.clock import Clocked
from lab.domains import Guest
from lab.factory import Guests
from lab.faulty import Action, Fault, Plan
from lab.filesystems import mounted
from lab.libvirtd import PrivateLibvirtd
from lab.matrix.lane import Breakable
from lab.service import Service
from lab.wait import until
from tests.real import live_tools as live
from tests.real.live_tools import KIB, MIB, SLOWLY

BUSY = 45.0  # seconds: longer than the database waits for another writer, and than it tries again
MOMENT = 1.5  # seconds that a phase lasts, so that it can be met
HOUR = timedelta(hours=1)


@pytest.fixture
def stopped(guests: Guests, tmp: Path) -> Guest:
    return guests.define(disks.raw(tmp / "disk", 16 * MIB, {"some": b"x" * 3 * MIB}))


@pytest.fixture
def running(guests: Guests, tmp: Path) -> Guest:
    """A guest that nobody waits for: QEMU runs, and its disk has data."""
    return guests.define(disks.raw(tmp / "running", 64 * MIB, {"some": b"x" * 8 * MIB}), agent=False).start()


# -------------------------------------------------------------------------------------------------------- the clock


def moment(shown: dict[str, Any], name: str) -> datetime:
    return datetime.fromisoformat(shown[name])


@pytest.mark.parametrize("shift", [-HOUR, pytest.param(HOUR, marks=pytest.mark.faults)], ids=["back", "ahead"])
def test_a_clock_that_is_set_by_an_hour_in_mid_capture_and_between_captures(
    shift: timedelta, libvirtd: PrivateLibvirtd, running: Guest, tmp: Path
) -> None:
    with Clocked(tmp / "service", libvirtd, {"controller": {"gone_grace": 5, "host_timeout": 5}}) as service:
        began = datetime.now(UTC)
        capture = captures.begin(service, running, bandwidth=SLOWLY)
        captures.moving(service, capture)

        service.set_clock(int(shift.total_seconds()))

        shown = captures.completed(service, capture)
        assert shown["attempt"] == 1
        assert began < moment(shown, "captured_at") < datetime.now(UTC)
        assert abs(moment(shown, "ended_at") - shift - datetime.now(UTC)) < timedelta(minutes=1)
        assert service.get(f"/v2.1/servers/{running.id}").body["server"]["status"] == "ACTIVE"
        live.tidy(service, running)

        again = captures.capture(service, running)
        assert abs(moment(again, "captured_at") - shift - datetime.now(UTC)) < timedelta(minutes=1)
        service.set_clock(0)
        captures.capture(service, running)
        assert len(service.get("/v2.1/captures").body["captures"]) == 3
        live.tidy(service, running)


# ----------------------------------------------------------------------------------------------------- the database


@contextmanager
def locked(service: Service) -> Iterator[None]:
    """Somebody else writes to the database, for as long as this lasts."""
    with closing(sqlite3.connect(service.state / "stillframe.sqlite", isolation_level=None, timeout=30)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        yield
        writer.execute("ROLLBACK")


@pytest.mark.faults
def test_a_database_that_is_locked_for_longer_than_anybody_waits(
    libvirtd: PrivateLibvirtd, running: Guest, stopped: Guest, guests: Guests, tmp: Path
) -> None:
    plan = Plan(tmp)
    waiting, idle = (guests.define(disks.raw(tmp / name, 16 * MIB, {"some": b"x" * MIB})) for name in ("two", "three"))
    with Breakable(tmp / "service", libvirtd, {"agent": {"max_transfers": 1}}, tmp) as service:
        plan.arm(Fault("call.commit.before", Action.HANG, seconds=5))
        at_commit = captures.begin(service, stopped)
        until(plan.fired.exists, 20, "the commit to be asked for")
        moving = captures.begin(service, running, bandwidth=SLOWLY // 8)
        captures.moving(service, moving)
        in_queue = captures.begin(service, waiting)
        captures.reached(service, in_queue, "held")
        captures.known(service, idle)

        with locked(service):
            began = time.monotonic()
            refused = service.request("POST", f"/v2.1/servers/{idle.id}/action", IMAGE, timeout=2 * BUSY)
            assert (refused.status, time.monotonic() - began < BUSY) == (503, True)
            assert service.get("/v2.1/captures").status == 200  # who reads is not held up
            until(lambda: time.monotonic() - began > BUSY, BUSY + 5, "the end of the lock")

        for capture in (at_commit, moving, in_queue):
            captures.completed(service, capture)
        live.tidy(service, running)
        captures.capture(service, running)


IMAGE = {"createImage": {"name": "while it is locked", "metadata": {}}}


def test_a_database_that_is_locked_for_a_while_is_waited_for(service: Service, running: Guest) -> None:
    capture = captures.begin(service, running, bandwidth=2 * SLOWLY)
    captures.moving(service, capture)
    with locked(service):
        until(lambda: live.asked_for_commit(service), 30, "the commit to be asked for")
    shown = captures.completed(service, capture)
    assert shown["attempt"] == 1
    live.tidy(service, running)


# ----------------------------------------------------------------------------------------------- the state directory


@contextmanager
def full(place: Path) -> Iterator[None]:
    """Nobody has room there, for as long as this lasts."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (64 * KIB, 512):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass
    yield
    filler.unlink()


def test_a_state_directory_without_room(libvirtd: PrivateLibvirtd, guests: Guests, tmp: Path) -> None:
    guest = guests.define(disks.raw(tmp / "disk", 64 * MIB, {"some": b"x" * 8 * MIB}), agent=False).start()
    elsewhere = {"images": {"directory": tmp / "images"}, "capture": {"scratch_dir": tmp / "scratch"}}
    (tmp / "service").mkdir()
    with mounted("ext4", tmp / "service" / "state", 24 * MIB, libvirtd) as state:
        with Service(tmp / "service", libvirtd, elsewhere) as service:
            capture = captures.begin(service, guest, bandwidth=SLOWLY)
            captures.moving(service, capture)
            with full(state):
                refused = service.request("POST", f"/v2.1/servers/{guest.id}/action", IMAGE)
                assert refused.status >= 400
                shown = captures.ended(service, capture)
            assert shown["status"] in ("completed", "failed")
            if shown["fault"]:
                assert shown["fault"]["code"] in ("journal-failed", "database-unusable")
            live.tidy(service, guest)
            assert guest.running
            captures.capture(service, guest)
        guests.remove()


# -------------------------------------------------------------------------------------- an image that nobody wants


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with live.directory() as path:
        yield path


@pytest.fixture(scope="module")
def breakable(libvirtd: PrivateLibvirtd, place: Path) -> Iterator[Breakable]:
    with Breakable(place / "service", libvirtd, {}, place) as service:
        yield service


@pytest.mark.parametrize(
    "point",
    [
        "step.instant.entered",
        "call.commit.before",
        "image.publish.before",
        pytest.param("step.plan.entered", marks=pytest.mark.faults),
        pytest.param("step.prepare.entered", marks=pytest.mark.faults),
        pytest.param("lease.BackupJob.taken", marks=pytest.mark.faults),
        pytest.param("step.transfer.left", marks=pytest.mark.faults),
        pytest.param("call.commit.after", marks=pytest.mark.faults),
        pytest.param("image.data.placed", marks=pytest.mark.faults),
        pytest.param("image.record.placed", marks=pytest.mark.faults),
        pytest.param("lease.BackupJob.giving-back", marks=pytest.mark.faults),
    ],
)
def test_an_image_that_is_deleted_in_each_phase_is_gone_or_the_deletion_is_refused(
    point: str, breakable: Breakable, place: Path, running: Guest
) -> None:
    plan = Plan(place)
    plan.arm(Fault(point, Action.HANG, seconds=MOMENT))
    capture = captures.begin(breakable, running)
    until(plan.fired.exists, 20, f"{point} to be come to")

    answers = [breakable.request("DELETE", f"/image/v2/images/{capture}").status for _ in range(2)]

    shown = captures.ended(breakable, capture)
    live.tidy(breakable, running)
    seen = breakable.get(f"/image/v2/images/{capture}").status
    if answers[0] == 204:
        assert answers[1] in (204, 404, 409)  # the last while what is being published is deleted already
        assert seen == 404
    else:
        assert answers == [409, 409]
        assert (shown["status"], seen) == ("completed", 200)
        assert breakable.request("DELETE", f"/image/v2/images/{capture}").status == 204
    assert captures.published(breakable) == []
