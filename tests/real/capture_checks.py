"""What the tests of captures share."""

from __future__ import annotations

import json
import os
from pathlib import Path

from lab import disks
from lab.disks import GuestDisk
from lab.tools import tool

MIB = 1 << 20
SIZE = 64 * MIB
HELD_BACK = 2 * MIB  # bytes a second that keep a capture of ballast() in its transfer for several seconds


def ballast(mib: int = 16) -> dict[str, bytes]:
    """A file that gives a capture something to transfer; for the factories in lab.disks."""
    return {"ballast": os.urandom(mib * MIB)}


def sound(image: GuestDisk) -> bool:
    """Whether qemu-img finds nothing to complain about, and the image stands alone."""
    known = disks.information(image.path, image.format)
    if image.format == "qcow2":
        report = json.loads(tool("qemu-img", "check", "-f", "qcow2", "--output=json", image.path))
        if report["check-errors"] or report.get("leaks") or report.get("corruptions"):
            return False
    return "backing-filename" not in known and "data-file" not in str(known.get("format-specific"))


def plain(image: GuestDisk, directory: Path) -> Path:
    """The image as a raw file, once it was found sound."""
    assert sound(image)
    return disks.plain(image, directory / f"{image.path.stem}.raw")
