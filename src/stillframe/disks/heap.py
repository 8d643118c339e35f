"""The memory of what reads and writes by the megabyte: librbd, which copies every block, and the qemu-nbd we start.

Both take a fresh block for each request. glibc gives such blocks back to the kernel at once, and the kernel fills the
next one with zeros, page by page: that takes longer than the copy itself.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Final

KEPT: Final = 64 << 20  # bytes that are freed and may be kept for the next block; a copy has half of it in flight
LARGEST: Final = 32 << 20  # bytes of a block that is kept; glibc allows no more
M_TRIM_THRESHOLD: Final = -1  # of malloc.h
M_MMAP_THRESHOLD: Final = -3

ENVIRONMENT: Final[Mapping[str, str]] = {
    "MALLOC_TRIM_THRESHOLD_": str(KEPT),
    "MALLOC_MMAP_THRESHOLD_": str(LARGEST),
}
"""For a process that we start."""


def keep() -> None:
    """For this process, from now on. A C library without mallopt stays as it is."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST)
        mallopt(M_TRIM_THRESHOLD, KEPT)
