"""Transfer `directory`: one pass from the held disk into a file of the image directory, hashed on the way."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack

from stillframe.capture.held import Hold
from stillframe.capture.leases import HalfImage
from stillframe.capture.subject import Subject
from stillframe.capture.tools import Tools
from stillframe.capture.transfers.reading import Mapped, mapped, reader_of
from stillframe.capture.work import Work
from stillframe.config import MIB
from stillframe.datapath.chunks import runs
from stillframe.datapath.copy import copy
from stillframe.datapath.reader import PIECE
from stillframe.datapath.sink import FileSink
from stillframe.errors.capture import NoSpace
from stillframe.model import ImageResult

SHA256 = "sha256"
RUN = 64 << 20  # bytes of blocks that are taken at once


class Directory:
    """The transfer that takes anything."""

    name = "directory"

    def obstacle(self, subject: Subject, source: str, tools: Tools) -> str | None:  # noqa: ARG002
        """None: a directory takes anything."""
        return None

    def run(self, work: Work, hold: Hold) -> tuple[ImageResult, ...]:
        """Looks at all disks before it writes the first byte of any."""
        with ExitStack() as stack:
            disks = [
                mapped(work, held, stack.enter_context(reader_of(work, held)), held.wanted.disk_format)
                for held in hold.disks
            ]
            _check_room(disks, work.tools)
            for disk in disks:
                work.control.meter.expect(disk.data_bytes)
            return tuple(_transferred(work, disk) for disk in disks)


def _transferred(work: Work, disk: Mapped) -> ImageResult:
    wanted, layout, store = disk.wanted, disk.layout, work.tools.directory
    image_id = wanted.image.id
    with (
        work.leases.taking(HalfImage(image_id)),
        work.timeline.step(f"transfer {wanted.disk.target}") as step,
    ):
        store.discard(image_id)  # of an attempt that was cut off
        digests = (SHA256,) if layout.hole_bytes <= work.tools.options.hash_holes_limit else ()
        if not digests:
            step.note(f"no sha256: the image has {layout.hole_bytes} bytes of holes")
        began = time.monotonic()
        sink = FileSink(store.part(image_id), layout.length, runs=runs(layout.pieces(), 2 * PIECE, RUN))
        copied = copy(disk.reader, layout, sink, work.control, digests=digests)
        step.bytes = copied.data_bytes
        seconds = max(time.monotonic() - began, 1e-3)
        step.note(f"{copied.data_bytes / seconds / MIB:.0f} MiB/s as {wanted.disk_format}")
    return ImageResult(image_id, wanted.disk_format, copied.length, wanted.disk.size, copied.digests.get(SHA256))


def _check_room(disks: Sequence[Mapped], tools: Tools) -> None:
    needed, free = sum(disk.data_bytes for disk in disks), tools.directory.free()
    if needed > free:
        raise NoSpace(what="image directory", needed=needed, free=free, operator=str(tools.directory.path))
