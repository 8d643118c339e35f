"""Copies of disk files that share the disk's blocks: where they can be made, and making them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from stillframe.capture.held import HeldDisk, Hold
from stillframe.capture.leases import OwnFile
from stillframe.capture.subject import Subject, Wanted
from stillframe.capture.tools import Tools
from stillframe.capture.work import Work
from stillframe.disks import reflink
from stillframe.disks.fingerprint import fingerprint
from stillframe.errors.capture import InstantLost, ReadFailed, WayClosed, WriteFailed
from stillframe.images.directory import DirectoryStore
from stillframe.model import Disk, DiskKind, Layer


def obstacle_to_copies(subject: Subject, tools: Tools) -> str | None:
    """Why not every wanted disk can be copied by sharing; None when it can."""
    for wanted in subject.wanted:
        _, obstacle = _place(wanted.disk, tools)
        if obstacle:
            return f"{wanted.disk.target}: {obstacle}"
    return None


def share(work: Work) -> tuple[HeldDisk, ...]:
    """A copy of each wanted disk's topmost file, beside the images if possible. Raises WayClosed."""
    return tuple(_share(work, wanted) for wanted in work.subject.wanted)


def fingerprint_below(subject: Subject) -> str:
    """Of the layers that are not copied: nobody should write to a backing file, but a block commit does."""
    return " ".join(fingerprint(replace(wanted.disk, chain=wanted.disk.chain[1:])) for wanted in subject.wanted)


def below_unchanged(subject: Subject, hold: Hold) -> None:
    """Raises InstantLost when a backing file below the copies was changed."""
    try:
        if fingerprint_below(subject) == hold.fingerprint:
            return
    except ReadFailed as error:
        raise InstantLost(reason="a backing file was removed", operator=error.fault.operator) from error
    raise InstantLost(reason="a backing file was written to")


def _share(work: Work, wanted: Wanted) -> HeldDisk:
    disk = wanted.disk
    directory, obstacle = _place(disk, work.tools)
    if directory is None:
        raise WayClosed(way="reflink", reason=obstacle)
    copy = directory / f".{work.capture_id}-{disk.target}.held"
    try:
        with work.leases.taking(OwnFile(str(copy))):
            copy.unlink(missing_ok=True)  # of an attempt that was cut off
            reflink.reflink(Path(disk.top.path), copy)
    except WriteFailed as error:
        reason, operator = error.fault.message.rstrip("."), error.fault.operator
        raise WayClosed(way="reflink", reason=reason, operator=operator) from error
    files = replace(disk, chain=(Layer(str(copy), disk.top.format), *disk.chain[1:]))
    return HeldDisk(wanted, files=files, own=True)


def _directories(tools: Tools) -> Iterator[tuple[str, Path]]:
    """Where a copy may lie, the place from which it need not be moved first."""
    if isinstance(tools.store, DirectoryStore):
        yield "images", tools.store.path
    yield "scratch", tools.options.scratch_dir


def _place(disk: Disk, tools: Tools) -> tuple[Path | None, str]:
    """The directory for the copy, or why there is none."""
    if disk.top.kind is not DiskKind.FILE:
        return None, f"it is a {disk.top.kind.value} disk, not a file"
    obstacles = []
    for what, directory in _directories(tools):
        found = reflink.obstacle(Path(disk.top.path), directory)
        if found is None:
            return directory, ""
        obstacles.append(f"in the {what} directory, {found}")
    return None, "; ".join(obstacles)
