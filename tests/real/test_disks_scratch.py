"""Scratch files made beforehand, under a live backup whose guest overwrites everything."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from lab import blocks, disks
from lab.factory import Guests
from lab.libvirtd import PrivateLibvirtd
from lab.tools import tool
from lab.wait import until
from stillframe.disks import scratch as scratches
from stillframe.disks.chain import allocated, inspected
from stillframe.hypervisor import backup
from stillframe.hypervisor.backup import BackupDisk
from stillframe.hypervisor.connection import Connection
from stillframe.model import Disk, Layer
from tests.real.hypervisor_tools import begin_of

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
    scratches.make(scratch, disk.size, range(1), None)
    assert scratches.reserve(scratch, scratches.most(disk.size, data)) is None
    reserved = scratch.stat().st_blocks * 512
    connection = Connection(libvirtd.uri)
    connection.open()
    try:
        begin_of(connection, guest, socket, [BackupDisk("vda", "vda", scratch)])
        before = blocks.reports(guest.serial())[-1].last
        uri = f"nbd+unix:///vda?socket={socket}"
        tool("qemu-img", "convert", "-f", "raw", "-O", "raw", uri, tmp / "first")
        until(lambda: blocks.reports(guest.serial())[-1].last > before + SLOTS, 60, "the guest to overwrite it all")
        tool("qemu-img", "compare", "-f", "raw", "-F", "raw", uri, tmp / "first")
        assert scratch.stat().st_size > MIB
        assert scratch.stat().st_blocks * 512 == reserved
        backup.abort(connection, guest.id, socket, 30)
    finally:
        connection.close()
    assert blocks.complaints(guest.serial()) == []


@pytest.mark.parametrize("size", [512, 10 * MIB + 512, 8 << 30, 17 << 40])
def test_a_scratch_file_is_sound_and_its_tables_stay_where_they_are(tmp: Path, size: int) -> None:
    scratch = tmp / "scratch"
    empty = scratches.make(scratch, size, range(-(-size // scratches.TABLE)), None)
    assert (scratches.kept(scratch, empty), scratches.kept(tmp / "none", empty)) == (0, 0)
    tool("qemu-img", "check", "-f", "qcow2", scratch)
    before = l1_table(scratch)
    assert len(before) == len(set(before))
    assert all(before)
    ends = {0, size // 2 // MIB * MIB, size - 512}
    writes = [word for end in ends for word in ("-c", f"write -P 7 {end} 512")]
    tool("qemu-io", "-f", "qcow2", "-t", "none", *writes, scratch)
    assert l1_table(scratch) == before
    assert scratches.kept(scratch, empty) >= 65536
    tool("qemu-img", "check", "-f", "qcow2", scratch)


def test_a_scratch_file_has_the_tables_that_are_asked_for(tmp: Path) -> None:
    scratch = tmp / "scratch"
    scratches.make(scratch, 8 << 30, [1, 5], None)
    assert [number for number, entry in enumerate(l1_table(scratch)) if entry] == [1, 5]
    tool("qemu-io", "-f", "qcow2", "-t", "none", "-c", "write -P 7 0 512", "-c", "write -P 7 512M 512", scratch)
    assert [number for number, entry in enumerate(l1_table(scratch)) if entry] == [0, 1, 5]
    tool("qemu-img", "check", "-f", "qcow2", scratch)


def test_what_is_not_kept_in_a_scratch_file_is_the_disks(tmp: Path) -> None:
    disk, scratch = disks.raw(tmp / "disk", MIB), tmp / "scratch"
    scratches.make(scratch, MIB, [], None)
    tool("qemu-io", "-f", "raw", "-c", f"write -P 5 0 {MIB}", disk.path)
    tool("qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", disk.path, scratch)
    tool("qemu-io", "-f", "qcow2", "-c", f"read -P 5 0 {MIB}", scratch)


def l1_table(image: Path) -> tuple[int, ...]:
    with image.open("rb") as file:
        entries, offset = struct.unpack_from(">IQ", file.read(48), 36)
        file.seek(offset)
        return struct.unpack(f">{entries}Q", file.read(8 * entries))
