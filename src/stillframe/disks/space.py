"""Room on filesystems."""

from __future__ import annotations

import os
from pathlib import Path


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
