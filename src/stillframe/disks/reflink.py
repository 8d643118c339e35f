"""Files that share their blocks: xfs, btrfs."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import tempfile
from pathlib import Path

from stillframe.disks.nocow import is_nocow, make_nocow
from stillframe.errors.capture import WriteFailed

FICLONE = 0x40049409
FICLONERANGE = 0x4020940D

REASONS = {
    errno.EXDEV: "the disk is on another filesystem than the target",
    errno.EOPNOTSUPP: "the filesystem cannot share blocks between files",
    errno.ENOTTY: "the filesystem cannot share blocks between files",
    errno.ENOSYS: "the filesystem cannot share blocks between files",
}


def obstacle(source: Path, directory: Path) -> str | None:
    """Why a file in the directory cannot share the source's blocks, in words without paths; None: it can. Tried out."""
    try:
        status = source.stat()
        if not stat.S_ISREG(status.st_mode):
            return "the disk is a device, and only files can share blocks"
        # One block is enough to know, and leaves the rest of a live disk alone.
        length = status.st_blksize if status.st_size >= status.st_blksize else 0
        with source.open("rb") as original, tempfile.TemporaryFile(dir=directory) as trial:
            _same_flags(original.fileno(), trial.fileno())
            fcntl.ioctl(trial, FICLONERANGE, struct.pack("qQQQ", original.fileno(), 0, length, 0))
    except OSError as error:
        return REASONS.get(error.errno or 0, f"a trial failed: {error.strerror}")
    return None


def reflink(source: Path, target: Path) -> None:
    """Makes the target (it must not exist) share all blocks of the source, mode 0600; raises WriteFailed."""
    try:
        with source.open("rb") as original:
            copy = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                _same_flags(original.fileno(), copy)
                fcntl.ioctl(copy, FICLONE, original.fileno())
            except OSError:
                target.unlink()
                raise
            finally:
                os.close(copy)
    except OSError as error:
        reason = REASONS.get(error.errno or 0, error.strerror)
        raise WriteFailed(offset=0, reason=reason, operator=f"{source} to {target}") from error


def _same_flags(source: int, target: int) -> None:
    """btrfs wants chattr +C on both files or on neither."""
    if is_nocow(source):
        make_nocow(target)
