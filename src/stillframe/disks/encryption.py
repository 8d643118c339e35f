"""Whether a disk is encrypted below what the guest sees, so that its image would be in the clear."""

from __future__ import annotations

from pathlib import Path

from stillframe.model import Disk


def encryption(disk: Disk, sysfs: Path = Path("/sys")) -> str | None:
    """What encrypts the (inspected) disk, in words: "LUKS (stated by the domain)", "dm-crypt (...)"; None: nothing."""
    raise NotImplementedError
