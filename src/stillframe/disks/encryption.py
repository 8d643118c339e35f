"""Whether a disk is encrypted below what the guest sees, so that its image would be in the clear."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from stillframe.errors.capture import ChainUnknown
from stillframe.model import Disk, DiskKind


def encryption(disk: Disk, sysfs: Path = Path("/sys")) -> str | None:
    """What encrypts the inspected disk, in words: "LUKS", "dm-crypt"; None: nothing.

    What the guest encrypts inside its own disk does not count: that stays encrypted in the image. Raises ChainUnknown.
    """
    if disk.encryption:
        return disk.encryption
    for layer in disk.chain:
        if layer.kind is DiskKind.NETWORK:
            continue
        try:
            status = os.stat(layer.path)  # noqa: PTH116
            if stat.S_ISBLK(status.st_mode) and dm_crypt(status.st_rdev, sysfs):
                return "dm-crypt"
        except OSError as error:
            raise ChainUnknown(disk=disk.target, reason="a layer cannot be looked at", operator=str(error)) from error
    return None


def dm_crypt(number: int, sysfs: Path) -> bool:
    """True when this device, or any that it is made of (LVM on LUKS, a partition), is a dm-crypt mapping."""
    device = (sysfs / "dev" / "block" / f"{os.major(number)}:{os.minor(number)}").resolve()
    waiting, seen = [device], set[Path]()
    while waiting:
        device = waiting.pop()
        if device in seen:
            continue
        seen.add(device)
        if (device / "partition").exists():
            waiting.append(device.parent)
        uuid = device / "dm" / "uuid"
        if uuid.exists() and uuid.read_text().startswith("CRYPT-"):
            return True
        slaves = device / "slaves"
        if slaves.is_dir():
            waiting.extend(entry.resolve() for entry in slaves.iterdir())
    return False
