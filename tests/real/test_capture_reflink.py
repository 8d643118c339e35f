"""Captures on filesystems that share blocks: any size in milliseconds, and no byte moves where none must."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import libvirt
import pytest

from lab import blocks, captures, disks, filesystems
from lab.disks import GuestDisk
from lab.domains import Guest
from lab.factory import Guests
from lab.libvirtd import PrivateLibvirtd
from lab.tools import tool
from lab.wait import until
from tests.real.capture_checks import HELD_BACK, MIB, SIZE, ballast, plain, sound
from tests.real.conftest import StartService

SLOTS = 512
ON_DISK = 400 * MIB


@contextmanager
def sharing(kind: str, tmp: Path, host: PrivateLibvirtd, guests: Guests) -> Iterator[Path]:
    """A filesystem that can share blocks; the guests on it are gone at the end."""
    with filesystems.mounted(kind, tmp / kind, ON_DISK, host) as place:
        try:
            yield place
        finally:
            guests.remove()


def relative_chain(place: Path) -> GuestDisk:
    """Two layers whose upper one names the lower one as a path beside it."""
    base = disks.raw(place / "base", SIZE, ballast(8))
    top = place / "top"
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base", "-F", "raw", "top", cwd=place)
    tool("qemu-io", "-f", "qcow2", "-c", f"write -P 0x5a {SIZE - MIB} 64k", top)
    return replace(base, path=top, format="qcow2", target="vdb")


def writes_on(guest: Guest) -> bool:
    """Waits until the guest's writer reports again; whether it never complained."""
    said = len(blocks.reports(guest.serial()))
    until(lambda: len(blocks.reports(guest.serial())) > said, 30, "the guest to go on writing")
    return blocks.complaints(guest.serial()) == []


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        pytest.param("xfs", disks.raw, id="xfs"),
        pytest.param("btrfs", disks.qcow2, id="btrfs", marks=pytest.mark.faults),
    ],
)
def test_a_live_guest_is_shared_in_an_instant(
    kind: str, make: type, libvirtd: PrivateLibvirtd, guests: Guests, start_service: StartService, tmp: Path
) -> None:
    with sharing(kind, tmp, libvirtd, guests) as place:
        service = start_service({"images": {"directory": place / "images"}})
        disk, chain = make(place / "disk", SIZE, blocks.autorun(slots=SLOTS)), relative_chain(place)
        guest = guests.writing(disk, chain)
        before = blocks.reports(guest.serial())[-1].last

        shown = captures.capture(service, guest)
        assert (shown["source"], shown["transfer"], shown["consistency"]) == ("reflink", "clone", "filesystem")
        assert 0 < shown["stopped_ms"] <= shown["frozen_ms"] < 5000
        raw = plain(captures.image(service, shown, disk), tmp)
        assert blocks.clean(raw)
        assert blocks.written(raw, slots=SLOTS).last >= before
        assert writes_on(guest)

        other = "qcow2" if disk.format == "raw" else "raw"
        shown = captures.capture(service, guest, format=other)
        assert (shown["source"], shown["transfer"]) == ("reflink", "directory")
        assert any(f"vda is {disk.format}, and the image is to be {other}" in reason for reason in shown["refused"])
        assert str(tmp) not in captures.told(shown)
        raw = plain(captures.image(service, shown, disk), tmp)
        assert blocks.clean(raw)
        blocks.written(raw, slots=SLOTS)

        shown = captures.capture(service, guest, disks=["vdb"])
        assert (shown["source"], shown["transfer"]) == ("reflink", "directory")
        assert any("vdb has a backing file" in reason for reason in shown["refused"])
        of_chain = captures.image(service, shown, chain)
        assert sound(of_chain)

        assert writes_on(guest)
        assert captures.left_behind(service, guest) == []
        guest.suspend()
        captures.known(service, guest, "PAUSED")
        shown = captures.capture(service, guest)
        assert (shown["source"], shown["transfer"], shown["consistency"]) == ("reflink", "clone", "crash")
        assert (shown["stopped_ms"], shown["frozen_ms"]) == (None, None)
        assert guest.state == (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER)
        paused = captures.image(service, shown, disk)

        guest.destroy()
        captures.known(service, guest, "SHUTOFF")
        assert sound(paused)
        assert disks.same(paused, disk)
        assert disks.same(of_chain, chain)
        shown = captures.capture(service, guest)
        assert (shown["source"], shown["transfer"], shown["consistency"]) == ("offline", "clone", "offline")
        assert disks.same(captures.image(service, shown, disk), disk)
        assert captures.left_behind(service, guest) == []


def test_a_store_elsewhere_gets_its_bytes_from_a_copy_beside_the_disk(
    libvirtd: PrivateLibvirtd, guests: Guests, start_service: StartService, tmp: Path
) -> None:
    with sharing("xfs", tmp, libvirtd, guests) as place:
        service = start_service({"capture": {"scratch_dir": place / "scratch"}})
        disk = disks.qcow2(place / "disk", SIZE, {**blocks.autorun(slots=SLOTS), **ballast(8)})
        guest = guests.writing(disk)
        capture = captures.begin(service, guest, bandwidth=HELD_BACK)
        captures.reached(service, capture, "transferring")
        assert [path.name for path in service.scratch.iterdir()] == [f".{capture}-vda.held"]
        guest.destroy()  # the copy is ours: nothing that happens to the guest matters any more
        shown = captures.completed(service, capture)
        assert (shown["source"], shown["transfer"]) == ("reflink", "directory")
        raw = plain(captures.image(service, shown, disk), tmp)
        assert blocks.clean(raw)
        blocks.written(raw, slots=SLOTS)
        assert captures.left_behind(service, guest) == []


def test_a_backing_file_that_changes_ends_the_capture(
    libvirtd: PrivateLibvirtd, guests: Guests, start_service: StartService, tmp: Path
) -> None:
    with sharing("xfs", tmp, libvirtd, guests) as place:
        service = start_service({"images": {"directory": place / "images"}})
        chain = replace(relative_chain(place), target="vda")
        guest = guests.boot(chain)
        capture = captures.begin(service, guest, bandwidth=HELD_BACK)
        captures.reached(service, capture, "transferring")
        commit = libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE
        guest.on_domain(lambda domain: domain.blockCommit("vda", None, None, 0, commit))
        shown = captures.failed(service, capture, "instant-lost")
        assert "a backing file was written to" in shown["fault"]["message"]
        assert captures.published(service) == []
        guest.on_domain(lambda domain: domain.blockJobAbort("vda"))
        assert captures.left_behind(service, guest) == []
