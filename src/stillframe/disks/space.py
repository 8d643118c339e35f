"""Room on filesystems, and scratch files for live backups."""

from __future__ import annotations

from pathlib import Path


def free(path: Path) -> int:
    """Bytes that may still be written to the filesystem of this existing path."""
    raise NotImplementedError


def reserve(path: Path, size: int) -> str | None:
    """Reserves blocks for the file to grow to `size` bytes without changing its length; why not, in words, or None."""
    raise NotImplementedError


def used(path: Path) -> int:
    """Bytes that the file takes on its filesystem; 0 when it does not exist."""
    raise NotImplementedError


def make_scratch(path: Path, size: int, owner: tuple[int, int] | None, *, timeout: float) -> None:
    """A new empty qcow2 (mode 0600) for a disk of `size` bytes, for libvirt's reuse of external files.

    `owner` is the (uid, gid) that QEMU runs as; None: ours. Raises ToolFailed, NoSpace, WriteFailed.
    """
    raise NotImplementedError
