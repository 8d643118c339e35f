"""Captures that pause a running guest for the whole copy, when that is wished: it always goes on afterwards."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import libvirt
import pytest

from lab import blocks, captures, disks
from lab.domains import Guest
from lab.factory import Guests
from lab.service import Service
from lab.wait import until
from tests.real.capture_checks import HELD_BACK, SIZE, ballast, sound

SLOTS = 512
OURS = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER)


def begun(service: Service, guest: Guest) -> str:
    """A cold capture whose bytes move slowly, while the guest stands still."""
    capture = captures.begin(service, guest, cold=True, bandwidth=HELD_BACK)
    captures.moving(service, capture)
    assert guest.state == OURS
    return capture


def goes_on(guest: Guest, deadline: float = 15) -> None:
    """Waits until the guest runs again, and writes, and has lost nothing."""
    until(lambda: guest.running, deadline, "the guest to be resumed")
    said = len(blocks.reports(guest.serial()))
    until(lambda: len(blocks.reports(guest.serial())) > said + 1, 30, "the guest to go on writing")
    assert blocks.complaints(guest.serial()) == []


def test_a_guest_stands_still_for_a_cold_capture_and_goes_on(guests: Guests, service: Service, tmp: Path) -> None:
    disk = disks.chain(tmp / "disk", SIZE, {**blocks.autorun(slots=SLOTS), **ballast(8)})
    guest = guests.writing(disk)

    capture = begun(service, guest)
    at_rest = disks.GuestDisk(disks.plain(disk, tmp / "at-rest"), "raw")
    shown = captures.completed(service, capture)
    assert (shown["source"], shown["transfer"], shown["consistency"]) == ("cold", "directory", "crash")
    goes_on(guest)
    image = captures.image(service, shown, disk)
    assert sound(image)
    assert disks.same(image, at_rest)
    assert captures.left_behind(service, guest) == []

    capture = begun(service, guest)
    _to_the_export(service, signal.SIGSTOP)  # one that hangs does not keep the guest
    assert service.request("DELETE", f"/v2.1/captures/{capture}").status == 202
    assert captures.ended(service, capture)["status"] == "cancelled"
    goes_on(guest)

    capture = begun(service, guest)
    _to_the_export(service, signal.SIGKILL)
    captures.failed(service, capture, "read-failed")
    goes_on(guest)

    capture = begun(service, guest)
    guest.resume()
    shown = captures.failed(service, capture, "instance-gone")
    assert "did not stay paused" in shown["fault"]["message"]
    goes_on(guest)
    assert len(captures.published(service)) == 2
    assert captures.left_behind(service, guest) == []


def _to_the_export(service: Service, number: signal.Signals) -> None:
    for pid in service.children():
        if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"qemu-nbd"):
            os.kill(pid, number)


@pytest.mark.faults
def test_a_guest_goes_on_as_soon_as_the_service_is_killed(guests: Guests, service: Service, tmp: Path) -> None:
    guest = guests.writing(disks.raw(tmp / "disk", SIZE, {**blocks.autorun(slots=SLOTS), **ballast()}))
    capture = begun(service, guest)
    service.kill()
    goes_on(guest, 5)
    service.start()
    shown = captures.failed(service, capture, "instant-lost")
    assert "the guest was resumed when the agent stopped" in shown["fault"]["message"]
    assert captures.published(service) == []
    assert captures.left_behind(service, guest) == []
    goes_on(guest)
    captures.capture(service, guest, cold=True)
    goes_on(guest)


def test_a_paused_guest_needs_no_cold_capture_and_stays_paused(guests: Guests, service: Service, tmp: Path) -> None:
    guest = guests.boot(disks.raw(tmp / "disk", SIZE), agent=False)
    guest.suspend()
    captures.known(service, guest, "PAUSED")
    shown = captures.capture(service, guest, cold=True)
    assert shown["source"] == "backup"
    assert any("nobody asked to pause a running guest" in reason for reason in shown["refused"])
    assert guest.state == OURS
