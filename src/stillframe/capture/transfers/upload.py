"""Transfer `upload`: one pass from the held disk into Glance, without a file in between, hashed on the way.

All but the last bytes are sent; those wait in `work.uploads` for commit. An upload that is cut off begins again, from
the same instant.
"""

from __future__ import annotations

import time

from stillframe.capture.held import HeldDisk, Hold
from stillframe.capture.publication import attestation, min_disk
from stillframe.capture.subject import Subject
from stillframe.capture.timeline import OpenStep
from stillframe.capture.tools import Tools
from stillframe.capture.transfers.reading import mapped, reader_of
from stillframe.capture.work import Work
from stillframe.config import MIB
from stillframe.datapath.copy import copy
from stillframe.datapath.layout import Layout
from stillframe.errors.glance import GlanceUnreachable, UploadCutOff
from stillframe.images.upload import Destination
from stillframe.model import Image, ImageResult, now

FIRST_PAUSE = 1.0  # seconds before an upload begins again; twice as long each time


class Upload:
    """The transfer of anything into Glance."""

    name = "upload"

    def obstacle(self, subject: Subject, source: str, tools: Tools) -> str | None:  # noqa: ARG002
        """None: Glance takes anything."""
        return None

    def run(self, work: Work, hold: Hold) -> tuple[ImageResult, ...]:
        """Looks at all disks before it sends the first byte of any."""
        layouts = [_look(work, held) for held in hold.disks]
        return tuple(_uploaded(work, hold, held, layout) for held, layout in zip(hold.disks, layouts, strict=True))


def _look(work: Work, held: HeldDisk) -> Layout:
    with reader_of(work, held) as reader:
        found = mapped(work, held, reader, held.wanted.disk_format)
    work.control.meter.expect(found.data_bytes)
    return found.layout


def _uploaded(work: Work, hold: Hold, held: HeldDisk, layout: Layout) -> ImageResult:
    image, meter = _image(hold, held, layout), work.control.meter
    tries, pause = work.tools.glance.retries, FIRST_PAUSE
    with work.timeline.step(f"upload {held.wanted.disk.target}") as step:
        while True:
            before = meter.progress().done
            try:
                return _sent(work, held, layout, image, step)
            except (UploadCutOff, GlanceUnreachable) as error:
                if not tries:
                    raise
                step.note(f"again: {error.fault.message}")
            meter.expect(meter.progress().done - before)
            work.control.sleep(pause)
            tries, pause = tries - 1, pause * 2


def _sent(work: Work, held: HeldDisk, layout: Layout, image: Image, step: OpenStep) -> ImageResult:
    """One PUT, whose last bytes are left in `work.uploads`."""
    store = work.tools.glance
    ticket = store.open(work.capture_id, work.attempt, image, work.control.sleep)
    to = Destination(image.id, layout.length, ticket.backend, work.subject.request_id)
    began = time.monotonic()
    with reader_of(work, held) as reader:
        upload = store.upload(to, work.tools.options.transfer_stall)
        copied = copy(reader, layout, upload, work.control, digests=(ticket.algorithm,))
    work.uploads.keep(image.id, upload)
    step.bytes = copied.data_bytes
    seconds = max(time.monotonic() - began, 1e-3)
    where = f" to store {ticket.backend}" if ticket.backend else ""
    step.note(f"{copied.length / seconds / MIB:.0f} MiB/s as {layout.format}{where}")
    return ImageResult(image.id, layout.format, copied.length, held.wanted.disk.size, hashes=dict(copied.digests))


def _image(hold: Hold, held: HeldDisk, layout: Layout) -> Image:
    """As its record is to say before its data come."""
    moment, request = now(), held.wanted.image
    return Image(
        id=request.id,
        name=request.name,
        status="saving",
        created_at=moment,
        updated_at=moment,
        disk_format=layout.format,
        container_format="bare",
        size=layout.length,
        virtual_size=held.wanted.disk.size,
        min_disk=min_disk(request, held.wanted.disk.size),
        properties=attestation(hold.source, hold.instant),
    )
