"""Other ways of one pass: qemu-img from libvirt's backup, and the floor under them all."""

from __future__ import annotations

import mmap
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import libvirt

from bench.experiment import MIB
from lab.disks import GuestDisk
from lab.domains import Guest
from lab.tools import tool
from lab.wait import until
from stillframe.disks.scratch import TABLE
from stillframe.disks.scratch import make as make_scratch
from stillframe.hypervisor.backup import BackupDisk, begin_xml

DEADLINE = 600.0
BLOCK = 4 * MIB
BUFFERS = 4

Full = queue.SimpleQueue[tuple[mmap.mmap, int] | OSError | None]  # a buffer and its bytes; None at the end


def qemu_img(guest: Guest, disk: GuestDisk, size: int, directory: Path) -> None:
    """A frozen pull-mode backup, converted by qemu-img (around the page cache, no hash) to a qcow2 file."""
    out = directory / "pull.qcow2"
    try:
        calls(guest, disk, size, directory, lambda url: _converted(url, out))
    finally:
        out.unlink(missing_ok=True)


def _converted(url: str, out: Path) -> None:
    tool("qemu-img", "convert", "-t", "none", "-f", "raw", "-O", "qcow2", url, out, timeout=DEADLINE)


def calls(
    guest: Guest, disk: GuestDisk, size: int, directory: Path, pull: Callable[[str], None] = lambda _url: None
) -> float:
    """A frozen pull-mode backup by libvirt's three calls and nothing between them; `pull` is given where it is served.

    For how many milliseconds the guest was frozen. The scratch is like that of a capture, with tables throughout.
    """
    socket, scratch = (directory / name for name in ("pull.sock", "pull.scratch"))
    make_scratch(scratch, size, range(-(-size // TABLE)), None)
    description = begin_xml(socket, [BackupDisk(disk.target, disk.target, scratch)], ())

    def called(domain: libvirt.virDomain) -> float:
        began = time.monotonic()
        domain.fsFreeze()
        try:
            domain.backupBegin(description, None, libvirt.VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL)
        finally:
            domain.fsThaw()
        frozen_ms = 1000 * (time.monotonic() - began)
        try:
            pull(f"nbd+unix:///{disk.target}?socket={socket}")
        finally:
            domain.abortJob()
            until(lambda: not domain.jobInfo()[0], 90, "the end of the backup")
        return frozen_ms

    try:
        return guest.on_domain(called)
    finally:
        for path in (socket, scratch):
            path.unlink(missing_ok=True)


def floor(layers: Sequence[Path], directory: Path) -> int:
    """Reads what is allocated in these files once and writes it once, at the same time, around the page cache.

    The number of bytes; raises OSError when not all could be read.
    """
    out = directory / "floor"
    free: queue.SimpleQueue[mmap.mmap] = queue.SimpleQueue()
    for _ in range(BUFFERS):
        free.put(mmap.mmap(-1, BLOCK))
    full: Full = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(layers, free, full), daemon=True)
    reader.start()
    total = 0
    target = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_DIRECT, 0o600)
    try:
        while (filled := full.get()) is not None:
            if isinstance(filled, OSError):
                raise filled
            buffer, length = filled
            total += os.pwrite(target, memoryview(buffer)[:length], total)
            free.put(buffer)
        os.fsync(target)
    finally:
        os.close(target)
        out.unlink()
    return total


def _read(layers: Sequence[Path], free: queue.SimpleQueue[mmap.mmap], full: Full) -> None:
    try:
        for layer in layers:
            source = os.open(layer, os.O_RDONLY | os.O_DIRECT)
            try:
                for place, length in _allocated(source):
                    buffer = free.get()
                    count = os.preadv(source, [memoryview(buffer)[:length]], place)
                    full.put((buffer, -(-count // 4096) * 4096))
            finally:
                os.close(source)
    except OSError as error:
        full.put(error)
    else:
        full.put(None)


def _allocated(source: int) -> Iterator[tuple[int, int]]:
    """Offset and length of blocks that hold data."""
    size, place = os.fstat(source).st_size, 0
    while place < size:
        try:
            start = os.lseek(source, place, os.SEEK_DATA)
        except OSError:  # nothing but a hole follows
            return
        end = os.lseek(source, start, os.SEEK_HOLE)
        for each in range(start, end, BLOCK):
            yield each, min(BLOCK, end - each)
        place = end
