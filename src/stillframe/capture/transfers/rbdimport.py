"""Transfer `import`: one pass from the held disk into a raw image on RBD, without a file in between."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace

from stillframe.capture.held import Hold
from stillframe.capture.subject import Subject
from stillframe.capture.tools import Tools
from stillframe.capture.transfers import rbdimage
from stillframe.capture.transfers.reading import Mapped, mapped, reader_of
from stillframe.capture.work import Work
from stillframe.config import MIB
from stillframe.datapath.copy import copy
from stillframe.disks.ceph import SNAP
from stillframe.disks.rbd import capabilities, images
from stillframe.disks.rbd.sink import RbdSink
from stillframe.errors.capture import NoSpace, VerifyFailed
from stillframe.model import ImageResult

READ_BACK = "read-back"  # [ceph] verify


class RbdImport:
    """The transfer of anything into the image store's own pool."""

    name = "import"

    def obstacle(self, subject: Subject, source: str, tools: Tools) -> str | None:  # noqa: ARG002 - from any source
        """A store that has a pool and takes locations in it, and images that nobody wants in another format."""
        store = tools.ceph.store(subject.capture_id)
        if store is None:
            return "[ceph] store_cluster is not set"
        for wanted in subject.wanted:
            if wanted.wished and wanted.disk_format != "raw":
                return f"images on RBD are raw, and that of {wanted.disk.target} is to be {wanted.disk_format}"
        found, place = store
        capabilities.check_room(found.cluster, place.pool)
        return tools.store.location_obstacle(found.cluster.fsid, place.pool)

    def run(self, work: Work, hold: Hold) -> tuple[ImageResult, ...]:
        """Looks at all disks before it writes the first byte of any."""
        with ExitStack() as stack, rbdimage.closing_the_way(work, self.name):
            disks = [mapped(work, held, stack.enter_context(reader_of(work, held)), "raw") for held in hold.disks]
            _check_room(work, disks)
            for disk in disks:
                work.control.meter.expect(disk.data_bytes)
            return tuple(_imported(work, disk) for disk in disks)


def _check_room(work: Work, disks: list[Mapped]) -> None:
    store = work.tools.ceph.store(work.capture_id)
    assert store is not None  # noqa: S101 - see obstacle
    found, place = store
    needed, free = sum(disk.data_bytes for disk in disks), capabilities.free(found.cluster, place.pool)
    if free is not None and needed > free:
        raise NoSpace(what="pool for images", needed=needed, free=free, operator=place.pool)


def _imported(work: Work, disk: Mapped) -> ImageResult:
    options, wanted = work.tools.ceph.options, disk.wanted
    store = work.tools.ceph.store(wanted.image.id)
    assert store is not None  # noqa: S101 - see obstacle
    with rbdimage.making(work, wanted, *store) as image:
        made = image.found
        seconds = work.tools.options.step_deadline
        images.create(made.cluster, made.image, disk.layout.length, image.owner, timeout=seconds)
    verify = options.verify == READ_BACK
    with work.timeline.step(f"import {wanted.disk.target}") as step:
        began = time.monotonic()
        sink = RbdSink(made.cluster, made.image, stall=work.tools.options.transfer_stall)
        digests = (rbdimage.MD5,) if options.enable_verify_image_md5sum or verify else ()
        copied = copy(disk.reader, disk.layout, sink, work.control, digests=digests)
        step.bytes = copied.data_bytes
        seconds = max(time.monotonic() - began, 1e-3)
        step.note(f"{copied.data_bytes / seconds / MIB:.0f} MiB/s")
        step.tell_operator(f"to {image.place}")
    md5 = copied.digests.get(rbdimage.MD5)
    result = rbdimage.finished(work, image, None, md5 if options.enable_verify_image_md5sum else None)
    if verify:
        _verify(work, image, md5)
    return result


def _verify(work: Work, image: rbdimage.Making, expected: str | None) -> None:
    """What the cluster gives when asked again must be what was read from the disk."""
    again = work.tools.ceph.at(replace(image.place, snap=SNAP), image.lease.fsid)
    with work.timeline.step(f"verify {image.wanted.disk.target}") as step:
        found = rbdimage.hashed(work, again, step)
        if found != expected:
            raise VerifyFailed(image=image.owner, expected=expected, found=found)
