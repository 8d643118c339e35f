"""Room on filesystems, and scratch files for live backups."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

from stillframe.disks import process
from stillframe.disks.nocow import make_nocow
from stillframe.errors.capture import WriteFailed

FALLOC_FL_KEEP_SIZE = 1
QUOTA = os.strerror(errno.EDQUOT)  # as `reserve` says it
CLUSTER = 1 << 16  # of qcow2, where nothing else is said


def free(path: Path) -> int:
    """Bytes that may still be written to the filesystem of this existing path."""
    room = os.statvfs(path)
    return room.f_bavail * room.f_frsize


def used(path: Path) -> int:
    """Bytes that the file takes on its filesystem; 0 when it does not exist."""
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0


def reserve(path: Path, size: int) -> str | None:
    """Reserves blocks for a scratch file of make_scratch to grow to `size` bytes; its length stays.

    None when they are reserved, else why not, in words.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        # os.posix_fallocate would write zeros itself where the filesystem cannot, and change the length where it can.
        failed = libc.fallocate(handle, FALLOC_FL_KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(size))
    finally:
        os.close(handle)
    if not failed:
        return None
    code = ctypes.get_errno()
    if code == errno.EOPNOTSUPP:
        return "its filesystem cannot reserve space"
    return f"{free(path)} bytes are free" if code == errno.ENOSPC else os.strerror(code)


def scratch_size(size: int, data: int) -> int:
    """The most bytes that a scratch file for a disk of `size` bytes takes once `data` bytes of it are overwritten."""
    maps = -(-size // (CLUSTER * CLUSTER // 8)) * CLUSTER
    counts = (data + maps) // (CLUSTER // 2)  # two bytes a cluster
    return data + maps + counts + 16 * CLUSTER  # header, first tables, and what their growth leaves behind


def make_scratch(path: Path, size: int, owner: tuple[int, int] | None, *, timeout: float) -> None:
    """A new empty qcow2 (mode 0600) for a disk of `size` bytes, for libvirt's reuse of external files.

    `owner` is the (uid, gid) that QEMU runs as; None: ours. Raises ToolFailed, WriteFailed.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            make_nocow(handle)  # else btrfs takes new blocks for every change, and reserving some would be no use
        finally:
            os.close(handle)
        # Nobody opens a scratch file again after a crash, so its reference counts need not be kept on disk.
        options = "compat=1.1,lazy_refcounts=on"
        process.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", options, str(path), str(size)], timeout=timeout)
        if owner is not None:
            os.chown(path, *owner)
    except OSError as error:
        raise WriteFailed(offset=0, reason=error.strerror, operator=str(path)) from error
