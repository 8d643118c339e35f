"""Files that share their blocks: xfs, btrfs."""

from __future__ import annotations

from pathlib import Path


def obstacle(source: Path, directory: Path) -> str | None:
    """Why a file in the directory cannot share the source's blocks, in words without paths; None: it can. Tried out."""
    raise NotImplementedError


def reflink(source: Path, target: Path) -> None:
    """Makes the target (it must not exist) share all blocks of the source, mode 0600; raises WriteFailed, NoSpace."""
    raise NotImplementedError
