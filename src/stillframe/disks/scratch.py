"""Scratch files of live backups: where QEMU keeps what a guest overwrites while its disk is held.

They are empty qcow2 files that have L2 tables already, as holes, wherever the disk holds data. Else QEMU makes each
table when its first cluster is written, with three or four flushes, and the write that waits for them is a guest's: the
first of all is that with which a guest is thawed. Elsewhere they have none, since to map a disk QEMU reads every table.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from stillframe.datapath.preallocation import preallocate
from stillframe.datapath.qcow2 import CLUSTER, ENTRIES, REFCOUNTS, Frame, l1_entries
from stillframe.disks.nocow import make_nocow
from stillframe.disks.space import free
from stillframe.errors.capture import WriteFailed

TABLE: Final = CLUSTER * ENTRIES  # bytes of a disk that one L2 table is for
QUOTA = os.strerror(errno.EDQUOT)  # as `reserve` says it
_SPARE = 16 * CLUSTER  # header, first tables, and what their growth leaves behind


def make(path: Path, size: int, tables: Sequence[int], owner: tuple[int, int] | None) -> int:
    """A new scratch file (mode 0600) for a disk of `size` bytes, for libvirt's reuse of external files; its length.

    `tables` are the numbers of the TABLEs of the disk that get one, ascending; `owner` is the (uid, gid) that QEMU runs
    as; None: ours. Raises WriteFailed.
    """
    frame = Frame(size, len(tables))
    length = frame.clusters * CLUSTER
    try:
        with open(path, "xb", opener=_private) as file:
            make_nocow(file.fileno())  # else btrfs takes new blocks for every change, and reserving would be no use
            for piece in frame.pieces(tables):
                file.seek(piece.target)
                file.write(piece.data)
            file.truncate(length)  # the L2 tables: a hole reads as a table without entries
            if owner is not None:
                os.fchown(file.fileno(), *owner)
    except OSError as error:
        raise WriteFailed(offset=0, reason=error.strerror, operator=str(path)) from error
    return length


def reserve(path: Path, size: int) -> str | None:
    """Reserves blocks for a scratch file to grow to `size` bytes; its length stays.

    None when they are reserved, else why not, in words.
    """
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        code = preallocate(handle, 0, size)
    finally:
        os.close(handle)
    if not code:
        return None
    if code == errno.EOPNOTSUPP:
        return "its filesystem cannot reserve space"
    return f"{free(path)} bytes are free" if code == errno.ENOSPC else os.strerror(code)


def most(size: int, data: int) -> int:
    """The most bytes that a scratch file for a disk of `size` bytes takes once `data` bytes of it are overwritten."""
    maps = l1_entries(size) * CLUSTER
    counts = (data + maps) // REFCOUNTS
    return data + maps + counts + _SPARE


def kept(path: Path, empty: int) -> int:
    """Bytes that QEMU keeps in a scratch file that was made `empty` bytes long; blocks only reserved do not count."""
    return path.stat().st_size - empty if path.exists() else 0


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
