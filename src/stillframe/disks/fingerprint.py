"""Whether a disk that nobody should have written was written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from stillframe.errors.capture import ReadFailed
from stillframe.model import Disk, DiskKind, Layer


def fingerprint(disk: Disk) -> str:
    """Changes when anything writes to a layer of the (inspected) disk.

    Files by inode, size and modification time; devices by the kernel's count of their writes. Reading, and a change of
    owner (a start of another domain over the same base), leave it as it is. Network layers are not looked at.
    Compare only within one boot of the host. Raises ReadFailed when a layer cannot be asked.
    """
    return " ".join(_of(layer) for layer in disk.chain)


def _of(layer: Layer) -> str:
    if layer.kind is DiskKind.NETWORK:
        return "network"
    try:
        status = os.stat(layer.path)  # noqa: PTH116
        if stat.S_ISBLK(status.st_mode):
            return _of_device(layer.path, status.st_rdev)
    except OSError as error:
        raise ReadFailed(offset=0, operator=str(error)) from error
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"


def _of_device(path: str, number: int) -> str:
    """A device node's own times say nothing; its written sectors and discards do, once the page cache is out."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
        length = os.lseek(handle, 0, os.SEEK_END)
    finally:
        os.close(handle)
    sysfs = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    counts = (sysfs / "stat").read_text().split()
    # Sectors, not requests: a flush is a request as well. (Documentation/block/stat.rst)
    written, discarded = counts[6], counts[13] if len(counts) > 13 else "0"
    return f"{number}:{length}:{written}:{discarded}"
