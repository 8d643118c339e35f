"""Transfer `directory`: one pass from the held disk into a file of the image directory, hashed on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stillframe.capture.held import HeldDisk, Hold
from stillframe.capture.leases import Export, HalfImage
from stillframe.capture.subject import Subject
from stillframe.capture.tools import Tools
from stillframe.capture.transfers.content import refuse_disguise
from stillframe.capture.work import Work
from stillframe.datapath import reader as reading
from stillframe.datapath.allocation import AllocationMap, map_of
from stillframe.datapath.copy import copy
from stillframe.datapath.layout import Layout
from stillframe.datapath.qcow2 import qcow2
from stillframe.datapath.raw import raw
from stillframe.datapath.sink import FileSink
from stillframe.disks import export
from stillframe.disks.nbd import NbdReader
from stillframe.errors import NoSpace
from stillframe.images import inspection
from stillframe.model import ImageResult

LAYOUTS: dict[str, Callable[[AllocationMap], Layout]] = {"raw": raw, "qcow2": qcow2}


class Directory:
    """The transfer that takes anything."""

    name = "directory"

    def obstacle(self, subject: Subject, source: str, tools: Tools) -> str | None:  # noqa: ARG002
        """None: a directory takes anything."""
        return None

    def run(self, work: Work, hold: Hold) -> tuple[ImageResult, ...]:
        """One disk after the other."""
        return tuple(_transfer(work, held) for held in hold.disks)


def _transfer(work: Work, held: HeldDisk) -> ImageResult:
    wanted, store, control = held.wanted, work.tools.store, work.control
    with _reader(work, held) as reader:
        with work.timeline.step(f"map {wanted.disk.target}") as step:
            layout = LAYOUTS[wanted.disk_format](map_of(reader, control.check))
            step.note(
                f"{layout.virtual_size >> 20} MiB of disk, {layout.length - layout.hole_bytes >> 20} MiB to write"
            )
            if wanted.disk_format == "raw":
                refuse_disguise(reading.read(reader, 0, inspection.HEAD, control.check), "raw")
            _check_room(layout, work.tools)
        work.leases.take(HalfImage(wanted.image.id))
        store.discard(wanted.image.id)  # of an attempt that was cut off
        with work.timeline.step(f"transfer {wanted.disk.target}") as step:
            digest = layout.hole_bytes <= work.tools.options.hash_holes_limit
            if not digest:
                step.note(f"no sha256: the image has {layout.hole_bytes} bytes of holes")
            began = time.monotonic()
            copied = copy(reader, layout, FileSink(store.part(wanted.image.id), layout.length), control, digest=digest)
            seconds = max(time.monotonic() - began, 1e-3)
            step.bytes = copied.data_bytes
            step.note(f"{copied.data_bytes / seconds / (1 << 20):.0f} MiB/s as {wanted.disk_format}")
    return ImageResult(wanted.image.id, wanted.disk_format, copied.length, wanted.disk.size, copied.sha256)


@contextmanager
def _reader(work: Work, held: HeldDisk) -> Iterator[NbdReader]:
    """The held bytes: QEMU serves them already, or a qemu-nbd of ours does."""
    target = held.wanted.disk.target
    deadline = work.tools.options.step_deadline
    if held.socket:
        socket = Path(held.socket)
    else:
        assert held.files is not None  # noqa: S101 - a held disk has one of the two
        socket = work.socket_path()
        lease = Export(str(socket))
        work.leases.take(lease)
        export.export(held.files, socket, target, timeout=deadline)
    reader = NbdReader(socket, target, timeout=deadline)
    try:
        yield reader
    finally:
        reader.close()
        if not held.socket:
            work.leases.give_back(lease)


def _check_room(layout: Layout, tools: Tools) -> None:
    needed, free = layout.length - layout.hole_bytes, tools.store.free()
    if needed > free:
        raise NoSpace(what="image directory", needed=needed, free=free, operator=str(tools.store.path))
