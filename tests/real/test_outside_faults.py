"""Faults that others cause in the middle of a capture: a clear outcome, nothing left, the guest unharmed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lab import blocks, captures, disks
from lab.domains import Guest
from lab.factory import Guests
from lab.filesystems import mounted
from lab.libvirtd import PrivateLibvirtd
from lab.service import Service
from lab.wait import until
from tests.real import live_tools as live
from tests.real.conftest import StartService
from tests.real.live_tools import KIB, MIB, SIZE, SLOTS, SLOWLY, Writing

AT_ONCE = 3.0
STANDS_STILL = 60.0


@pytest.fixture(scope="module")
def service(libvirtd: PrivateLibvirtd) -> Iterator[Service]:
    with live.serving(libvirtd) as service:
        yield service


@pytest.fixture
def blank(guests: Guests, tmp: Path) -> Guest:
    """A guest that nobody waits for: QEMU runs, and its disk has data."""
    return guests.define(disks.raw(tmp / "disk", SIZE, {"some": b"x" * 8 * MIB}), agent=False).start()


# -------------------------------------------------------------------------------------------------- the instance


def kill_qemu(guest: Guest) -> None:
    pid = (guest.host.directory / "run" / "qemu" / f"{guest.name}.pid").read_text()
    os.kill(int(pid), signal.SIGKILL)


def destroy(guest: Guest) -> None:
    guest.destroy()


def restart(guest: Guest) -> None:
    guest.destroy()
    guest.start()


@pytest.mark.parametrize("fault", [kill_qemu, destroy, restart])
def test_an_instance_that_goes_ends_its_capture_at_once(
    fault: Callable[[Guest], None], service: Service, blank: Guest
) -> None:
    capture = captures.begin(service, blank, bandwidth=SLOWLY)
    captures.moving(service, capture)

    fault(blank)
    began = time.monotonic()
    shown = live.failed(service, capture, "instance-gone")

    assert time.monotonic() - began < AT_ONCE
    assert f"Instance {blank.id} was stopped" in shown["fault"]["message"]
    assert shown["fault"]["hint"]
    live.tidy(service)


def test_an_instance_that_goes_while_its_capture_waits_in_the_queue(
    blank: Guest, guests: Guests, start_service: StartService, tmp: Path
) -> None:
    service = start_service({"agent": {"max_transfers": 1}})
    stopped = guests.define(disks.raw(tmp / "stopped", SIZE, {"some": b"x" * MIB}))
    first = captures.begin(service, blank, bandwidth=SLOWLY)
    captures.moving(service, first)
    second = captures.begin(service, stopped)
    captures.reached(service, second, "held")

    stopped.start()

    began = time.monotonic()
    assert "was started" in live.failed(service, second, "instance-gone")["fault"]["message"]
    assert time.monotonic() - began < AT_ONCE
    assert captures.record(service, first)["status"] == "running"
    assert service.request("DELETE", f"/v2.1/captures/{first}").status == 202
    captures.ended(service, first)
    live.tidy(service)


def test_a_guest_that_stops_while_it_waits_is_captured_as_it_is_then(
    blank: Guest, guests: Guests, start_service: StartService, tmp: Path
) -> None:
    service = start_service({"agent": {"max_transfers": 1}})
    other = guests.define(disks.raw(tmp / "other", SIZE, {"some": b"x" * 3 * MIB}))
    first = captures.begin(service, other, bandwidth=SLOWLY)
    captures.moving(service, first)
    second = captures.begin(service, blank)
    live.in_step(service, second, "plan")

    blank.destroy()

    captures.completed(service, first)
    shown = captures.completed(service, second)
    assert shown["source"] == "offline"
    live.tidy(service)


def test_a_backup_job_that_someone_else_aborts(service: Service, writer: Writing) -> None:
    capture = captures.begin(service, writer.guest, bandwidth=SLOWLY // 4)
    captures.moving(service, capture)

    writer.guest.on_domain(lambda domain: domain.abortJob())

    shown = live.failed(service, capture, "instant-lost")
    assert "backup job" in shown["fault"]["message"]
    live.tidy(service, writer.guest)


@pytest.mark.faults
def test_a_guest_that_reboots_itself(guests: Guests, service: Service, tmp: Path) -> None:
    disk = disks.raw(tmp / "disk", SIZE, blocks.autorun(slots=SLOTS, pause_us=20000))
    guest = guests.writing(disk)
    before = blocks.reports(guest.serial())[-1].last
    capture = captures.begin(service, guest, bandwidth=SLOWLY)
    captures.moving(service, capture)
    said = len(guest.serial())

    with suppress(Exception):  # the agent goes before it answers
        guest.agent("guest-exec", timeout=1, path="/bin/sh", arg=["-c", "reboot -f"])

    guest.line("LAB ready", 60, after=said)
    shown = captures.ended(service, capture, 120)
    assert shown["status"] == "completed", shown
    assert Writing(guest, disk).saved(service, shown, tmp / "plain.raw") >= before
    until(lambda: guest.on_domain(lambda domain: domain.jobInfo()[0]) == 0, 90, "the end of the job")
    live.tidy(service, deadline=90)


def test_a_disk_that_is_removed_under_a_stopped_domain(service: Service, guests: Guests, tmp: Path) -> None:
    disk = disks.raw(tmp / "disk", SIZE, {"some": b"x" * 8 * MIB})
    guest = guests.define(disk)
    capture = captures.begin(service, guest, bandwidth=SLOWLY)
    captures.moving(service, capture)

    away = disk.path.rename(tmp / "away")

    assert "lost disk vda" in live.failed(service, capture, "instance-gone", AT_ONCE)["fault"]["message"]
    shown = live.failed(service, captures.begin(service, guest), "chain-unknown", AT_ONCE)
    assert "No such file" in shown["fault"]["message"]
    assert str(tmp) not in captures.told(shown)
    live.tidy(service)
    away.rename(disk.path)
    captures.capture(service, guest)


@pytest.mark.parametrize("runs", [True, False], ids=["running", "stopped"])
def test_a_domain_that_is_undefined_and_defined_again_in_mid_capture(
    runs: bool, service: Service, guests: Guests, tmp: Path
) -> None:
    disk = disks.raw(tmp / "disk", SIZE, {"some": b"x" * 4 * MIB})
    guest = guests.define(disk, agent=False)
    if runs:
        guest.start()
        captures.known(service, guest, "ACTIVE")
    capture = captures.begin(service, guest, bandwidth=SLOWLY)
    captures.moving(service, capture)

    guest.on_domain(lambda domain: domain.undefine())
    if runs:  # else libvirt knows nothing of it now
        guest.define()
        captures.completed(service, capture)
    else:
        assert "was undefined" in live.failed(service, capture, "instance-gone", AT_ONCE)["fault"]["message"]
        guest.define()

    live.tidy(service, guest)
    captures.capture(service, guest)


# ------------------------------------------------------------------------------------------------------- libvirtd


def test_a_libvirtd_that_is_killed_and_comes_back_is_not_noticed(tmp: Path, start_service: StartService) -> None:
    with PrivateLibvirtd(tmp / "host") as host:
        guests = Guests(host, tmp)
        disk = disks.raw(tmp / "disk", SIZE, {"some": b"x" * 4 * MIB})
        guest = guests.define(disk, agent=False).start()
        service = start_service(host=host)
        guest.suspend()  # so that the disk stays as it is
        captures.known(service, guest, "PAUSED")
        capture = captures.begin(service, guest, bandwidth=SLOWLY)
        captures.moving(service, capture)

        host.kill()
        until(lambda: service.get("/healthcheck").status == 503, 20, "the loss to be noticed")
        captures.reached(service, capture, "transferring")
        host.start()

        shown = captures.completed(service, capture)
        assert shown["attempt"] == 1
        live.tidy(service)
        assert guest.on_domain(lambda domain: domain.jobInfo()[0]) == 0
        guest.destroy()
        assert disks.same(captures.image(service, shown, disk), disk)
        service.discard()
        guests.remove()


@pytest.mark.faults
def test_a_libvirtd_that_stands_still_for_a_minute(tmp: Path, start_service: StartService) -> None:
    with PrivateLibvirtd(tmp / "host") as host:
        guests = Guests(host, tmp)
        disk = disks.raw(tmp / "disk", SIZE, blocks.autorun(slots=SLOTS, pause_us=20000))
        writer = Writing(guests.writing(disk), disk)
        service = start_service(host=host)
        capture = captures.begin(service, writer.guest, bandwidth=SLOWLY)
        captures.moving(service, capture)

        os.kill(host.pid, signal.SIGSTOP)
        stopped = time.monotonic()
        until(lambda: live.step(captures.record(service, capture), "commit"), 60, "all bytes to be there")
        until(lambda: service.get("/healthcheck").status == 503, STANDS_STILL, "the loss to be noticed")
        assert service.get("/v2.1/servers/detail").status == 200
        until(lambda: time.monotonic() - stopped > STANDS_STILL, STANDS_STILL, "the minute to be over")
        os.kill(host.pid, signal.SIGCONT)

        captures.completed(service, capture, 60)
        service.ready()
        live.tidy(service, writer.guest, deadline=60)
        writer.unharmed()
        captures.capture(service, writer.guest)
        service.discard()
        guests.remove()


# ---------------------------------------------------------------------------------------------------- the store


def test_a_store_that_someone_else_fills_up(writer: Writing, start_service: StartService, tmp: Path) -> None:
    with mounted("ext4", tmp / "images", 24 * MIB) as filesystem:
        service = start_service({"images": {"directory": filesystem / "store"}})
        service.images = filesystem / "store"
        capture = captures.begin(service, writer.guest, bandwidth=SLOWLY)
        captures.moving(service, capture)

        with (filesystem / "other").open("wb", buffering=0) as other, suppress(OSError):
            while other.write(bytes(64 * KIB)):
                pass

        shown = captures.ended(service, capture)
        assert shown["status"] == "failed"
        assert shown["fault"]["code"] in ("no-space", "write-failed")
        assert [path.name for path in service.images.iterdir() if not path.name.startswith(".")] == []
        live.tidy(service, writer.guest)
        (filesystem / "other").unlink()
        captures.capture(service, writer.guest)
        service.discard()


def test_a_store_that_is_full_from_the_start(writer: Writing, start_service: StartService, tmp: Path) -> None:
    with mounted("ext4", tmp / "images", 4 * MIB) as filesystem:
        service = start_service({"images": {"directory": filesystem / "store"}})
        service.images = filesystem / "store"
        shown = live.failed(service, captures.begin(service, writer.guest), "no-space")
        assert "image directory has too little room" in shown["fault"]["message"]
        live.tidy(service, writer.guest)
        service.discard()
