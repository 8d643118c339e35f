"""Blocks of a file taken before they are written; its length stays as it is."""

from __future__ import annotations

import ctypes
from typing import Final

KEEP_SIZE: Final = 1  # FALLOC_FL_KEEP_SIZE of linux/falloc.h


def preallocate(handle: int, offset: int, length: int) -> int:
    """Take blocks for this range of the open file; 0, or the errno that says why they were not taken."""
    libc = ctypes.CDLL(None, use_errno=True)
    # os.posix_fallocate would write zeros itself where the filesystem cannot, and change the length where it can
    failed = libc.fallocate(handle, KEEP_SIZE, ctypes.c_int64(offset), ctypes.c_int64(length))
    return ctypes.get_errno() if failed else 0
