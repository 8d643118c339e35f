"""Transfer `directory`: one pass from the held disk into a file of the image directory, hashed on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from stillframe.capture.held import HeldDisk, Hold
from stillframe.capture.leases import Export, HalfImage
from stillframe.capture.subject import Subject, Wanted
from stillframe.capture.tools import Tools
from stillframe.capture.transfers.content import refuse_disguise
from stillframe.capture.work import Work
from stillframe.config import MIB
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
        """Looks at all disks before it writes the first byte of any."""
        with ExitStack() as stack:
            mapped = [_mapped(work, held, stack.enter_context(_reader(work, held))) for held in hold.disks]
            _check_room([each.layout for each in mapped], work.tools)
            for each in mapped:
                work.control.meter.expect(each.layout.length - each.layout.hole_bytes)
            return tuple(_transferred(work, each) for each in mapped)


@dataclass(frozen=True, slots=True)
class _Mapped:
    """A held disk whose image's file is known to the last byte."""

    wanted: Wanted
    reader: NbdReader
    layout: Layout


def _mapped(work: Work, held: HeldDisk, reader: NbdReader) -> _Mapped:
    wanted = held.wanted
    with work.timeline.step(f"map {wanted.disk.target}") as step:
        in_time = work.control.within(work.tools.options.step_deadline, "Reading the map of the disk")
        layout = LAYOUTS[wanted.disk_format](map_of(reader, in_time))
        data = layout.length - layout.hole_bytes
        step.note(f"{layout.virtual_size >> 20} MiB of disk, {data >> 20} MiB to write")
        if wanted.disk_format == "raw":
            refuse_disguise(reading.read(reader, 0, inspection.HEAD, work.control.check), "raw")
    return _Mapped(wanted, reader, layout)


def _transferred(work: Work, mapped: _Mapped) -> ImageResult:
    wanted, layout, store = mapped.wanted, mapped.layout, work.tools.store
    image_id = wanted.image.id
    with (
        work.leases.taking(HalfImage(image_id)),
        work.timeline.step(f"transfer {wanted.disk.target}") as step,
    ):
        store.discard(image_id)  # of an attempt that was cut off
        digests = ("sha256",) if layout.hole_bytes <= work.tools.options.hash_holes_limit else ()
        if not digests:
            step.note(f"no sha256: the image has {layout.hole_bytes} bytes of holes")
        began = time.monotonic()
        sink = FileSink(store.part(image_id), layout.length)
        copied = copy(mapped.reader, layout, sink, work.control, digests=digests)
        step.bytes = copied.data_bytes
        seconds = max(time.monotonic() - began, 1e-3)
        step.note(f"{copied.data_bytes / seconds / MIB:.0f} MiB/s as {wanted.disk_format}")
    return ImageResult(image_id, wanted.disk_format, copied.length, wanted.disk.size, copied.digests.get("sha256"))


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
        with work.leases.taking(lease):
            export.export(held.files, socket, target, timeout=deadline)
    reader = NbdReader(socket, target, timeout=deadline)
    try:
        yield reader
    finally:
        reader.close()
        if not held.socket:
            work.leases.give_back(lease)


def _check_room(layouts: Sequence[Layout], tools: Tools) -> None:
    needed, free = sum(layout.length - layout.hole_bytes for layout in layouts), tools.store.free()
    if needed > free:
        raise NoSpace(what="image directory", needed=needed, free=free, operator=str(tools.store.path))
