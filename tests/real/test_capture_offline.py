"""Captures of guests that do not run: the disk as it is, and a start of the guest is never in the way."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lab import blocks, captures, disks
from lab.disks import GuestDisk
from lab.factory import Guests
from lab.service import Service
from lab.wait import until
from tests.real.capture_checks import HELD_BACK, SIZE, ballast, sound

SLOTS = 512
Make = Callable[[Path, int, dict[str, bytes]], GuestDisk]


@pytest.mark.parametrize("make", [disks.raw, disks.qcow2, disks.chain], ids=["raw", "qcow2", "three layers"])
def test_a_stopped_guest_is_saved_as_its_disk_is(make: Make, guests: Guests, service: Service, tmp: Path) -> None:
    disk = make(tmp / "disk", SIZE, ballast(4))
    guest = guests.define(disk)
    for wanted in ("raw", "qcow2"):
        shown = captures.capture(service, guest, format=wanted, quiesce=True)
        assert (shown["source"], shown["transfer"], shown["consistency"]) == ("offline", "directory", "offline")
        image = captures.image(service, shown, disk)
        assert image.format == wanted
        assert sound(image)
        assert disks.same(image, disk)
        assert str(tmp) not in captures.told(shown)
    assert captures.left_behind(service, guest) == []


def test_a_block_device_of_a_stopped_guest_is_saved(guests: Guests, service: Service, tmp: Path) -> None:
    with disks.loop(disks.raw(tmp / "disk", SIZE, ballast(4))) as device:
        guest = guests.define(device)
        shown = captures.capture(service, guest)
        image = captures.image(service, shown, replace(device, kind="file"))
        assert (shown["consistency"], image.format) == ("offline", "raw")
        assert disks.same(image, device)
        assert captures.left_behind(service, guest) == []
        guests.remove()


def test_a_guest_suspended_to_disk_is_saved_and_goes_on_later(guests: Guests, service: Service, tmp: Path) -> None:
    disk = disks.qcow2(tmp / "disk", SIZE, blocks.autorun(slots=SLOTS))
    guest = guests.writing(disk)
    guest.managed_save()
    captures.known(service, guest, "SUSPENDED")
    with pytest.raises(captures.EndedOtherwise, match="cannot-freeze"):
        captures.capture(service, guest, quiesce=True)

    shown = captures.capture(service, guest)

    assert (shown["source"], shown["consistency"]) == ("offline", "crash")
    image = captures.image(service, shown, disk)
    assert sound(image)
    assert disks.same(image, disk)
    said = len(blocks.reports(guest.serial()))
    guest.start()
    until(lambda: len(blocks.reports(guest.serial())) > said + 1, 30, "the guest to go on writing")
    assert blocks.complaints(guest.serial()) == []
    assert captures.left_behind(service, guest) == []


def test_a_guest_that_is_started_meanwhile_goes_first(guests: Guests, service: Service, tmp: Path) -> None:
    guest = guests.define(disks.qcow2(tmp / "disk", SIZE, ballast()))
    unhindered = _seconds_to_start(guests.define(disks.qcow2(tmp / "other", SIZE)).start)
    capture = captures.begin(service, guest, bandwidth=HELD_BACK)
    captures.reached(service, capture, "transferring")

    assert _seconds_to_start(guest.start) < 2 * unhindered + 1

    shown = captures.failed(service, capture, "instance-gone")
    assert "was started" in shown["fault"]["message"]
    assert captures.published(service) == []
    guest.booted()
    assert captures.left_behind(service, guest) == []


def _seconds_to_start(start: Callable[[], object]) -> float:
    began = time.monotonic()
    start()
    return time.monotonic() - began


def test_a_start_and_stop_that_nobody_saw_is_noticed(guests: Guests, service: Service, tmp: Path) -> None:
    guest = guests.define(disks.raw(tmp / "disk", SIZE, ballast()))
    capture = captures.begin(service, guest, bandwidth=HELD_BACK)
    captures.reached(service, capture, "transferring")
    os.kill(service.pid, signal.SIGSTOP)
    try:
        guest.start().booted()
        guest.destroy()
    finally:
        os.kill(service.pid, signal.SIGCONT)
    shown = captures.failed(service, capture, "instance-gone")
    assert "was started and stopped, or its disk was written to" in shown["fault"]["message"]
    assert captures.published(service) == []
    assert captures.left_behind(service, guest) == []


def test_a_disk_that_is_removed_ends_the_capture(guests: Guests, service: Service, tmp: Path) -> None:
    disk = disks.raw(tmp / "disk", SIZE, ballast())
    guest = guests.define(disk)
    capture = captures.begin(service, guest, bandwidth=HELD_BACK)
    captures.reached(service, capture, "transferring")
    disk.path.unlink()
    shown = captures.failed(service, capture, "instance-gone")
    assert "lost disk vda" in shown["fault"]["message"]
    assert str(disk.path) in shown["fault"]["operator"]
    assert str(tmp) not in captures.told(shown)

    shown = captures.failed(service, captures.begin(service, guest), "chain-unknown")
    assert "No such file" in shown["fault"]["message"]
    assert str(tmp) not in captures.told(shown)
    assert captures.published(service) == []
    assert captures.left_behind(service, guest) == []


def test_an_undefined_guest_ends_its_capture(guests: Guests, service: Service, tmp: Path) -> None:
    guest = guests.define(disks.raw(tmp / "disk", SIZE, ballast()))
    capture = captures.begin(service, guest, bandwidth=HELD_BACK)
    captures.reached(service, capture, "transferring")
    guest.remove()
    shown = captures.failed(service, capture, "instance-gone")
    assert "was undefined" in shown["fault"]["message"]
    assert captures.published(service) == []
    assert captures.left_behind(service) == []
