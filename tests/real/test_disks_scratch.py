"""Scratch files made beforehand, under a live backup whose guest overwrites everything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lab import blocks, disks
from lab.factory import Guests
from lab.libvirtd import PrivateLibvirtd
from lab.tools import tool
from lab.wait import until
from stillframe.disks import space
from stillframe.disks.chain import allocated, inspected
from stillframe.hypervisor import backup
from stillframe.hypervisor.backup import BackupDisk
from stillframe.hypervisor.connection import Connection
from stillframe.model import Disk, Layer

MIB = 1 << 20
SIZE = 64 * MIB
SLOTS = 512


def test_a_reserved_scratch_file_takes_all_that_a_guest_overwrites(
    libvirtd: PrivateLibvirtd, guests: Guests, tmp: Path
) -> None:
    guest_disk = replace(disks.chain(tmp / "disk", SIZE, blocks.autorun(slots=SLOTS)), error_policy="report")
    guest = guests.writing(guest_disk)
    until(lambda: blocks.reports(guest.serial())[-1].last > SLOTS, 60, "the guest to have written it all once")
    disk = inspected(Disk("vda", (Layer(str(guest_disk.path), "qcow2"),)))
    data = allocated(disk)
    scratch, socket = tmp / "scratch", tmp / "nbd.sock"
    space.make_scratch(scratch, disk.size, None, timeout=10)
    assert space.reserve(scratch, space.scratch_size(disk.size, data)) is None
    reserved = space.used(scratch)
    connection = Connection(libvirtd.uri)
    connection.open()
    try:
        backup.begin(connection, guest.id, socket, [BackupDisk("vda", "vda", scratch)])
        before = blocks.reports(guest.serial())[-1].last
        uri = f"nbd+unix:///vda?socket={socket}"
        tool("qemu-img", "convert", "-f", "raw", "-O", "raw", uri, tmp / "first")
        until(lambda: blocks.reports(guest.serial())[-1].last > before + SLOTS, 60, "the guest to overwrite it all")
        tool("qemu-img", "compare", "-f", "raw", "-F", "raw", uri, tmp / "first")
        assert scratch.stat().st_size > MIB
        assert space.used(scratch) == reserved
        backup.abort(connection, guest.id, socket, 30)
    finally:
        connection.close()
    assert blocks.complaints(guest.serial()) == []
