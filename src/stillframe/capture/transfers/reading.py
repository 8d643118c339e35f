"""Held disks as readers, whatever holds them, and what is known of them before the first byte is moved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stillframe.capture.awake import light_sleep
from stillframe.capture.held import HeldDisk
from stillframe.capture.leases import Export
from stillframe.capture.subject import Wanted
from stillframe.capture.transfers.content import refuse_disguise
from stillframe.capture.work import Work
from stillframe.datapath import reader as reading
from stillframe.datapath.allocation import AllocationMap, map_of
from stillframe.datapath.layout import Layout
from stillframe.datapath.qcow2 import qcow2
from stillframe.datapath.raw import raw
from stillframe.datapath.reader import PIECE, Reader
from stillframe.disks import export
from stillframe.disks.nbd import NbdReader
from stillframe.disks.rbd.reader import RbdReader
from stillframe.images import inspection

LAYOUTS: dict[str, Callable[[AllocationMap], Layout]] = {"raw": raw, "qcow2": qcow2}


@dataclass(frozen=True, slots=True)
class Mapped:
    """A held disk whose image's file is known to the last byte."""

    wanted: Wanted
    reader: Reader
    layout: Layout

    @property
    def data_bytes(self) -> int:
        """Bytes that are to be written."""
        return self.layout.length - self.layout.hole_bytes


def mapped(work: Work, held: HeldDisk, reader: Reader, disk_format: str) -> Mapped:
    """Reads the map of a disk, and refuses content that would not be read as what it is. Raises UnsafeContent."""
    wanted = held.wanted
    with work.timeline.step(f"map {wanted.disk.target}") as step:
        in_time = work.control.within(work.tools.options.step_deadline, "Reading the map of the disk")
        found = Mapped(wanted, reader, LAYOUTS[disk_format](map_of(reader, in_time)))
        step.note(f"{found.layout.virtual_size >> 20} MiB of disk, {found.data_bytes >> 20} MiB to write")
        if disk_format == "raw":
            refuse_disguise(reading.read(reader, 0, inspection.HEAD, work.control.check), "raw")
    return found


@contextmanager
def reader_of(work: Work, held: HeldDisk) -> Iterator[Reader]:
    """The held bytes: served by QEMU already, by a qemu-nbd of ours, or by their Ceph cluster."""
    if held.snapshot is not None:
        found = work.tools.ceph.at(held.snapshot, held.fsid)
        with RbdReader(found.cluster, found.image, found.snap) as reader:
            yield reader
    elif held.socket:
        deadline = work.tools.options.step_deadline
        # one piece at a time: what a running guest writes waits behind all that is under way
        disk = NbdReader(Path(held.socket), held.wanted.disk.target, window=PIECE, timeout=deadline)
        with disk as served, light_sleep():
            yield served
    else:
        with _exported(work, held) as served:
            yield served


@contextmanager
def _exported(work: Work, held: HeldDisk) -> Iterator[NbdReader]:
    """Files at rest, served by a process of ours as long as they are read."""
    assert held.files is not None  # noqa: S101 - a held disk has one of the three
    target, deadline = held.wanted.disk.target, work.tools.options.step_deadline
    socket = work.socket_path()
    lease = Export(str(socket))
    with work.leases.taking(lease):
        export.export(held.files, socket, target, timeout=deadline)
    try:
        with NbdReader(socket, target, timeout=deadline) as reader:
            yield reader
    finally:
        work.leases.give_back(lease)
