"""Files that their filesystem overwrites in place (chattr +C): a matter of btrfs only."""

from __future__ import annotations

import errno
import fcntl
import struct

GET_FLAGS, SET_FLAGS, NOCOW = 0x80086601, 0x40086602, 0x00800000
NO_SUCH_THING = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENOSYS)


def is_nocow(handle: int) -> bool:
    """Whether the open file is overwritten in place by its flag; False where filesystems have no such flag."""
    try:
        return bool(_flags(handle) & NOCOW)
    except OSError as error:
        if error.errno not in NO_SUCH_THING:
            raise
        return False


def make_nocow(handle: int) -> None:
    """Sets the flag on an open file that is still empty; nothing happens where filesystems have no such flag."""
    try:
        fcntl.ioctl(handle, SET_FLAGS, struct.pack("l", _flags(handle) | NOCOW))
    except OSError as error:
        if error.errno not in NO_SUCH_THING:
            raise


def _flags(handle: int) -> int:
    return int(struct.unpack("l", fcntl.ioctl(handle, GET_FLAGS, bytes(8)))[0])
