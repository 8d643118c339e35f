"""Captures of live guests: the image is the disk at one instant, and the guest hardly notices."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lab import blocks, captures, disks
from lab.disks import GuestDisk
from lab.factory import Guests
from lab.guest import GuestSystem
from lab.service import Service
from lab.wait import until

MIB = 1 << 20
SIZE = 64 * MIB
SLOTS = 512
KINDS = pytest.mark.parametrize("make", [disks.raw, disks.qcow2, disks.chain], ids=["raw", "qcow2", "three layers"])
Make = Callable[[Path, int, dict[str, str]], GuestDisk]


def checked(image: GuestDisk, scratch: Path) -> Path:
    """The image as a plain raw file, after qemu-img found nothing to complain about."""
    if image.format == "qcow2":
        report = subprocess.run(
            ["qemu-img", "check", "-f", "qcow2", "--output=json", image.path], check=True, capture_output=True
        )
        assert json.loads(report.stdout)["check-errors"] == 0
        assert "backing-filename" not in disks.information(image.path, "qcow2")
    return disks.plain(image, scratch)


@KINDS
def test_a_writing_guest_is_saved_at_one_instant(make: Make, guests: Guests, service: Service, tmp: Path) -> None:
    disk = make(tmp / "disk", SIZE, blocks.autorun(slots=SLOTS))
    guest = guests.writing(disk)
    before = blocks.reports(guest.serial())[-1].last

    shown = captures.capture(service, guest)

    assert (shown["source"], shown["transfer"], shown["consistency"]) == ("backup", "directory", "filesystem")
    plain = checked(captures.image(service, shown, disk), tmp / "plain.raw")
    assert blocks.clean(plain)
    assert blocks.written(plain, slots=SLOTS).last >= before  # every acknowledged block, without a gap
    assert blocks.complaints(guest.serial()) == []
    assert captures.left_behind(service, guest) == []
    # the guest goes on writing, and nothing held it up but the freeze
    after = len(blocks.reports(guest.serial()))
    until(lambda: len(blocks.reports(guest.serial())) > after, 30, "the guest to go on writing")
    longest = max(report.longest for report in blocks.reports(guest.serial()))
    assert longest <= shown["frozen_ms"] / 1000 + 0.5


@KINDS
def test_a_paused_guest_is_saved_as_it_stands(make: Make, guests: Guests, service: Service, tmp: Path) -> None:
    disk = make(tmp / "disk", SIZE, blocks.autorun(slots=SLOTS))
    guest = guests.writing(disk)
    guest.suspend()
    captures.known(service, guest, "PAUSED")

    shown = captures.capture(service, guest)

    assert (shown["source"], shown["consistency"], shown["frozen_ms"]) == ("backup", "crash", None)
    checked(captures.image(service, shown, disk), tmp / "plain.raw")
    guest.destroy()
    assert disks.same(captures.image(service, shown, disk), disk)


def test_a_block_device_is_saved_as_raw(guests: Guests, service: Service, tmp: Path) -> None:
    with disks.loop(disks.raw(tmp / "disk", SIZE, blocks.autorun(slots=SLOTS))) as device:
        guest = guests.writing(device)
        shown = captures.capture(service, guest)
        assert shown["images"][0]["disk_format"] == "raw"
        plain = checked(captures.image(service, shown, disks.raw(tmp / "like", SIZE)), tmp / "plain.raw")
        assert blocks.clean(plain)
        blocks.written(plain, slots=SLOTS)
        guests.remove()


@pytest.mark.parametrize("wanted", ["raw", "qcow2"])
def test_the_format_of_the_image_can_be_chosen(wanted: str, guests: Guests, service: Service, tmp: Path) -> None:
    disk = (disks.qcow2 if wanted == "raw" else disks.raw)(tmp / "disk", SIZE)
    guest = guests.boot(disk)
    guest.suspend()
    shown = captures.capture(service, guest, format=wanted)
    image = captures.image(service, shown, disk)
    assert image.format == wanted
    guest.destroy()
    assert disks.same(image, disk)


def test_the_hash_is_that_of_the_file(guests: Guests, service: Service, tmp: Path) -> None:
    disk = disks.raw(tmp / "disk", SIZE, {"some": "content" * 1000})
    shown = captures.capture(service, guests.boot(disk))
    made = shown["images"][0]
    path = captures.image(service, shown, disk).path
    digest = subprocess.run(["sha256sum", path], check=True, capture_output=True, text=True).stdout.split()[0]
    assert made["sha256"] == digest
    listed = json.loads((service.images / f"{made['id']}.json").read_text())
    assert listed["sha256"] == digest
    assert listed["size"] == path.stat().st_size


def test_several_disks_are_saved_at_one_instant(guests: Guests, service: Service, tmp: Path) -> None:
    root = disks.raw(tmp / "root", SIZE, blocks.autorun(slots=SLOTS))
    second = replace(disks.qcow2(tmp / "second", SIZE, {"name": "second"}), target="vdb")
    third = replace(disks.qcow2(tmp / "third", SIZE, {"name": "third"}), target="vdc")
    guest = guests.boot(root, second, third)

    shown = captures.capture(service, guest, disks=["vda", "vdc"])

    assert [image["disk"] for image in shown["images"]] == ["vda", "vdc"]
    assert shown["images"][0]["id"] == shown["id"]
    assert blocks.clean(checked(captures.image(service, shown, root), tmp / "plain.raw"))
    image = captures.image(service, shown, third, 1)
    guest.destroy()
    assert disks.same(image, third)


def test_a_captured_image_boots(guests: Guests, service: Service, tmp: Path, guest_files: GuestSystem) -> None:
    disk = disks.bootable(tmp / "disk", 192 * MIB, guest_files, {"MARKER": "from-the-first"})
    first = guests.boot(disk, disk_boot=True)
    shown = captures.capture(service, first, format="qcow2")
    second = guests.boot(captures.image(service, shown, disk), disk_boot=True)
    second.line("LAB marker from-the-first")
