"""An image on RBD in the making: what `clone` and `import` have in common."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from stillframe import failpoints
from stillframe.capture.leases import Lease
from stillframe.capture.rbdleases import DOUBT, HalfRbdImage, ParentLink
from stillframe.capture.subject import Wanted
from stillframe.capture.timeline import OpenStep
from stillframe.capture.work import Work
from stillframe.datapath.allocation import map_of
from stillframe.datapath.copy import copy
from stillframe.datapath.nowhere import Nowhere
from stillframe.datapath.raw import raw
from stillframe.disks.ceph import SNAP, OnRbd, location
from stillframe.disks.rbd import images, snapshots
from stillframe.disks.rbd.reader import RbdReader
from stillframe.errors.base import StillframeError
from stillframe.errors.capture import DeadlineExceeded, WayClosed
from stillframe.errors.ceph import CephForbidden, CephFull, PoolMissing, RbdNameTaken
from stillframe.model import ImageResult, RbdPlace

LOG = logging.getLogger(__name__)
MD5 = "md5"


@dataclass(frozen=True, slots=True)
class Making:
    """An image on RBD that is not published yet."""

    wanted: Wanted
    found: OnRbd
    place: RbdPlace
    lease: HalfRbdImage

    @property
    def owner(self) -> str:
        """What says in the image's metadata whose it is."""
        return self.wanted.image.id


@contextmanager
def making(work: Work, wanted: Wanted, found: OnRbd, place: RbdPlace) -> Iterator[Making]:
    """The block makes the image, for which nothing is left in the way of an attempt that was cut off.

    When that gets no answer in time it may still come about, and is looked for later again.
    """
    lease = HalfRbdImage(place, found.cluster.fsid, wanted.image.id)
    with work.leases.taking(lease):
        images.remove(found.cluster, found.image, wanted.image.id, timeout=work.tools.options.step_deadline)
        try:
            yield Making(wanted, found, place, lease)
        except DeadlineExceeded:
            with work.leases.taking(replace(lease, doubtful_until=time.time() + DOUBT)):
                raise


@contextmanager
def closing_the_way(work: Work, name: str) -> Iterator[None]:
    """What stands against an image in this pool closes the way; half-made images are given back, for the next one."""
    try:
        yield
    except (CephForbidden, CephFull, PoolMissing, RbdNameTaken) as error:
        give_back(work)
        reason, operator = error.fault.message.rstrip("."), error.fault.operator
        raise WayClosed(way=name, reason=reason, operator=operator) from error


def give_back(work: Work) -> None:
    """Half-made images. What cannot be given back now is given back at the end: the cause must not be hidden by it."""
    halves: tuple[Lease, ...] = (*work.leases.of(ParentLink), *work.leases.of(HalfRbdImage))
    for lease in halves:
        try:
            work.leases.give_back(lease)
        except StillframeError as error:
            LOG.warning("capture %s: %s could not be given back yet: %s", work.capture_id, lease, error)


def finished(work: Work, image: Making, parent: RbdPlace | None, md5: str | None) -> ImageResult:
    """The image with its protected snapshot, as glance_store makes it."""
    found, wanted, seconds = image.found, image.wanted, work.tools.options.step_deadline
    with failpoints.around("rbd.snap"):
        snapshots.create_protected(found.cluster, found.image, SNAP, timeout=seconds)
    return ImageResult(
        id=wanted.image.id,
        disk_format="raw",
        size=wanted.disk.size,
        virtual_size=wanted.disk.size,
        properties={"md5sum": md5} if md5 else {},
        location=location(found.image),
        place=image.place,
        parent=parent,
    )


def hashed(work: Work, found: OnRbd, step: OpenStep) -> str:
    """The md5 of all bytes of a snapshot, holes included: read ahead, and hashed meanwhile."""
    with RbdReader(found.cluster, found.image, found.snap) as reader:
        in_time = work.control.within(work.tools.options.step_deadline, "Reading the map of the snapshot")
        layout = raw(map_of(reader, in_time))
        work.control.meter.expect(layout.length - layout.hole_bytes)
        copied = copy(reader, layout, Nowhere(), work.control, digests=(MD5,))
        step.bytes = copied.data_bytes
    return copied.digests[MD5]
