"""Disks that are held still: what a source gives and a transfer takes. Goes to the journal as JSON."""

from __future__ import annotations

from dataclasses import dataclass

from stillframe.capture.subject import Wanted
from stillframe.model import Disk, Instant, RbdPlace


@dataclass(frozen=True, slots=True)
class HeldDisk:
    """One disk at the instant: served on a socket by QEMU, as files at rest, or as a snapshot on RBD."""

    wanted: Wanted
    socket: str | None = None  # where it is served, under the name of its target
    scratch: str | None = None  # where QEMU keeps what the guest overwrites meanwhile
    empty: int = 0  # bytes that the scratch file was long at first
    files: Disk | None = None  # its chain of files that nobody writes
    own: bool = False  # the topmost file is a copy of ours: it may be shared with the image
    snapshot: RbdPlace | None = None  # a snapshot that we made
    fsid: str = ""  # of the cluster that it is in


@dataclass(frozen=True, slots=True)
class Hold:
    """All wanted disks at one instant."""

    source: str
    instant: Instant
    disks: tuple[HeldDisk, ...]
    run: str | None = None  # the run of the domain at the instant; None: it did not run
    fingerprint: str = ""  # of files that are not ours: changes when somebody writes to them
