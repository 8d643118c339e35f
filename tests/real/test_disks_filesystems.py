"""What depends on the filesystem or device below a disk: shared blocks, reserved space, counted writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import disks
from lab.disks import GuestDisk
from lab.tools import succeeds, tool
from stillframe.disks import scratch as scratches
from stillframe.disks import space
from stillframe.disks.chain import allocated, inspected
from stillframe.disks.fingerprint import fingerprint
from stillframe.disks.reflink import obstacle, reflink
from stillframe.disks.regions import occupied
from stillframe.errors.capture import WriteFailed
from stillframe.model import Disk, DiskKind, Layer

MIB = 1 << 20
MKFS = {"xfs": ("mkfs.xfs", "-q"), "btrfs": ("mkfs.btrfs", "-q"), "ext4": ("mkfs.ext4", "-q", "-F")}


@contextmanager
def filesystem(kind: str, tmp: Path, size: int = 400 * MIB) -> Iterator[Path]:
    """A new filesystem in a file, mounted."""
    image, point = tmp / f"{kind}.fs", tmp / kind
    with image.open("xb") as file:
        file.truncate(size)
    tool(*MKFS[kind], image)
    point.mkdir()
    tool("mount", "-o", "loop", image, point)
    try:
        yield point
    finally:
        tool("umount", point)


def fill(place: Path) -> None:
    """Takes all that a filesystem still has, in ever smaller pieces."""
    for size in (64 * MIB, 8 * MIB, MIB, 4096):
        while succeeds(["fallocate", "-l", str(size), place / f"filler{len(list(place.iterdir()))}"]):
            pass
    assert not succeeds(["dd", "if=/dev/urandom", f"of={place}/rest", "bs=1M", "count=400", "status=none"])


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_a_reflink_is_the_file_at_that_instant_and_takes_no_room(tmp: Path, kind: str) -> None:
    with filesystem(kind, tmp) as place:
        source, target = place / "disk", place / "copy"
        source.write_bytes(os.urandom(100 * MIB))
        os.sync()
        before = source.read_bytes()
        room = space.free(place)
        assert obstacle(source, place) is None
        assert list(place.iterdir()) == [source]
        reflink(source, target)
        with source.open("r+b") as file:
            file.write(b"later")
        assert target.read_bytes() == before
        assert target.stat().st_mode & 0o777 == 0o600
        assert room - space.free(place) < 20 * MIB


def test_a_btrfs_file_without_copy_on_write_is_reflinked_too(tmp: Path) -> None:
    with filesystem("btrfs", tmp) as place:
        (place / "disk").touch()
        tool("chattr", "+C", place / "disk")
        (place / "disk").write_bytes(b"x" * MIB)
        assert obstacle(place / "disk", place) is None
        reflink(place / "disk", place / "copy")
        assert (place / "copy").read_bytes() == b"x" * MIB


def test_obstacles_are_told_in_words(tmp: Path) -> None:
    with filesystem("ext4", tmp) as ext4, filesystem("xfs", tmp) as xfs:
        for place in (ext4, xfs):
            (place / "disk").write_bytes(b"x" * MIB)
            (place / "tiny").write_bytes(b"x" * 100)
            (place / "empty").touch()
        assert "cannot share blocks" in (obstacle(ext4 / "disk", ext4) or "")
        assert "another filesystem" in (obstacle(xfs / "disk", ext4) or "")
        assert obstacle(xfs / "tiny", xfs) is None
        assert obstacle(xfs / "empty", xfs) is None
        assert "No such file" in (obstacle(xfs / "missing", xfs) or "")
        with disks.loop(GuestDisk(xfs / "disk", "raw")) as device:
            assert "device" in (obstacle(device.path, xfs) or "")


def test_a_reflink_replaces_nothing_and_a_failed_one_leaves_nothing(tmp: Path) -> None:
    with filesystem("xfs", tmp) as xfs:
        (xfs / "disk").write_bytes(b"x" * MIB)
        (xfs / "there").write_bytes(b"mine")
        with pytest.raises(WriteFailed):
            reflink(xfs / "disk", xfs / "there")
        assert (xfs / "there").read_bytes() == b"mine"
        with pytest.raises(WriteFailed) as failed:
            reflink(xfs / "disk", tmp / "elsewhere")
        assert "another filesystem" in failed.value.fault.message
        assert not (tmp / "elsewhere").exists()


def taken(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_a_scratch_file_stays_within_the_size_that_is_foretold(tmp: Path) -> None:
    scratch = tmp / "scratch"
    scratches.make(scratch, 64 << 30, [], None)
    writes = [f"write {place * 600}M 64k" for place in range(100)]  # each in a map of its own
    tool("qemu-io", "-f", "qcow2", *(word for write in writes for word in ("-c", write)), scratch)
    assert 100 * 65536 < taken(scratch) <= scratches.most(64 << 30, 100 * 65536)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_a_reserved_scratch_file_can_be_written_on_a_full_filesystem(tmp: Path, kind: str) -> None:
    with filesystem(kind, tmp) as place:
        scratch = place / "scratch"
        scratches.make(scratch, 64 * MIB, [0], None)
        length = scratch.stat().st_size
        reserved = scratches.most(64 * MIB, 64 * MIB)
        assert scratches.reserve(scratch, reserved) is None
        assert scratch.stat().st_size == length
        assert taken(scratch) >= reserved
        fill(place)
        tool("qemu-io", "-f", "qcow2", "-t", "none", "-c", "write -P 7 0 64M", "-c", "flush", scratch)
        assert succeeds(["qemu-io", "-f", "qcow2", "-c", "read -P 7 0 64M", scratch])


def test_what_cannot_be_reserved_is_told_with_what_is_free(tmp: Path) -> None:
    with filesystem("xfs", tmp) as place:
        scratch = place / "scratch"
        scratches.make(scratch, 4 << 30, range(8), None)
        assert "bytes are free" in (scratches.reserve(scratch, 4 << 30) or "")
        assert scratch.stat().st_size < MIB


def test_a_scratch_file_without_room_for_its_tables_is_refused(tmp: Path) -> None:
    with filesystem("ext4", tmp) as place:
        (place / "room").write_bytes(bytes(224 << 10))  # three tables of four
        fill(place)
        (place / "room").unlink()
        with pytest.raises(WriteFailed) as failed:
            scratches.make(place / "scratch", 64 * MIB, [0], None)
        assert "No space left" in failed.value.fault.message


def test_a_scratch_file_is_an_empty_qcow2_for_qemus_user_alone(tmp: Path) -> None:
    scratch = tmp / "scratch"
    scratches.make(scratch, 10 * MIB, [0], (12345, 54321))
    status = scratch.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (12345, 54321, 0o600)
    assert disks.information(scratch, "qcow2")["virtual-size"] == 10 * MIB
    with pytest.raises(WriteFailed):
        scratches.make(scratch, 10 * MIB, [0], None)
    with pytest.raises(WriteFailed):
        scratches.make(tmp / "none" / "scratch", 10 * MIB, [0], None)


def test_writes_to_a_device_change_its_fingerprint_and_reads_do_not(tmp: Path) -> None:
    with disks.loop(disks.raw(tmp / "disk", 8 * MIB)) as device:
        disk = inspected(Disk("vda", (Layer(str(device.path), "raw", DiskKind.BLOCK),)))
        assert disk.size == 8 * MIB
        assert allocated(disk) == 8 * MIB
        assert occupied(disk, 2 * MIB) == [0, 1, 2, 3]
        before = fingerprint(disk)
        device.path.read_bytes()
        assert fingerprint(disk) == before
        with device.path.open("r+b") as file:  # through the page cache, and nobody syncs
            file.seek(5 * MIB)
            file.write(b"x")
        after = fingerprint(disk)
        assert after != before
        assert fingerprint(disk) == after
