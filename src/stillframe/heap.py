"""How glibc's malloc is to treat us, where its defaults are for other programs.

What reads and writes by the megabyte, librbd and the qemu-nbd we start, takes a fresh block for each request. glibc
gives such blocks back to the kernel at once, and the kernel fills the next one with zeros, page by page: that takes
longer than the copy itself.

And each thread has an arena of its own, up to eight for each processor, which keeps what it once needed. Python's
threads take turns anyway.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Final

KEPT: Final = 64 << 20  # bytes that are freed and may be kept for the next block; a copy has half of it in flight
LARGEST: Final = 32 << 20  # bytes of a block that is kept; glibc allows no more
ARENAS: Final = 2  # with librbd, some threads allocate while others hold the first one
M_TRIM_THRESHOLD: Final = -1  # of malloc.h
M_MMAP_THRESHOLD: Final = -3
M_ARENA_MAX: Final = -8

ENVIRONMENT: Final[Mapping[str, str]] = {
    "MALLOC_TRIM_THRESHOLD_": str(KEPT),
    "MALLOC_MMAP_THRESHOLD_": str(LARGEST),
}
"""Keeps freed blocks in a process that we start."""


def keep() -> None:
    """Keeps freed blocks in this process, from now on."""
    _set(M_MMAP_THRESHOLD, LARGEST)
    _set(M_TRIM_THRESHOLD, KEPT)


def share() -> None:
    """Has the threads that this process starts from now on share a few arenas."""
    _set(M_ARENA_MAX, ARENAS)


def _set(option: int, value: int) -> None:
    """A C library without mallopt stays as it is."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(option, value)
