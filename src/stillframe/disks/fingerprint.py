"""Whether a disk that nobody should have written was written."""

from __future__ import annotations

from stillframe.model import Disk


def fingerprint(disk: Disk) -> str:
    """Changes when anything writes to a layer of the (inspected) disk.

    Files by inode, size and modification time; devices by the kernel's count of their writes.
    Compare only within one boot of the host. Raises ReadFailed when a layer cannot be asked.
    """
    raise NotImplementedError
