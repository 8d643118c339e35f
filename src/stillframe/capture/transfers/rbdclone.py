"""Transfer `clone` on RBD: the image is a clone of the disk's snapshot in its cluster; no byte passes this host."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from stillframe.capture.held import HeldDisk, Hold
from stillframe.capture.rbdleases import DiskSnapshot, ParentLink
from stillframe.capture.subject import Subject, Wanted
from stillframe.capture.tools import Tools
from stillframe.capture.transfers import rbdimage
from stillframe.capture.transfers.content import refuse_disguise
from stillframe.capture.work import Work
from stillframe.config import OWN, STORE
from stillframe.datapath import reader as reading
from stillframe.disks.ceph import OnRbd
from stillframe.disks.rbd import capabilities, images
from stillframe.disks.rbd.flatten import flatten
from stillframe.disks.rbd.reader import RbdReader
from stillframe.images import inspection
from stillframe.images.glancestore import GlanceStore
from stillframe.model import ImageResult, RbdPlace

NOW, BACKGROUND, NEVER = "now", "background", "never"  # [ceph] flatten


class RbdClone:
    """The transfer within one Ceph cluster."""

    name = "clone"

    def obstacle(self, subject: Subject, source: str, tools: Tools) -> str | None:
        """A snapshot to clone, an image that is to be raw, and a store that takes a location in the target pool."""
        if source != "snapshot":
            return "there is no snapshot to clone"
        return next((reason for wanted in subject.wanted if (reason := _obstacle(wanted, tools))), None)

    def run(self, work: Work, hold: Hold) -> tuple[ImageResult, ...]:
        """Clones each snapshot, and flattens the clones at once where that is wanted."""
        with rbdimage.closing_the_way(work, self.name):
            results = tuple(_cloned(work, held) for held in hold.disks)
        for held in hold.disks:
            if _when(work, held.wanted) == NEVER:
                _tie(work, held)
        return results


def _obstacle(wanted: Wanted, tools: Tools) -> str | None:
    if wanted.disk_format != "raw":
        return f"{wanted.disk.target} is on RBD, where images are raw, and this one is to be {wanted.disk_format}"
    if tools.ceph.options.flatten == NEVER and isinstance(tools.store, GlanceStore):
        return "[ceph] flatten is never, and Glance would leave the disk's snapshot when it deletes the image"
    disk = wanted.disk.top.rbd
    assert disk is not None  # noqa: S101 - what a snapshot is of
    found = tools.ceph.at(disk)
    if tools.ceph.options.target_pool == STORE:
        store = tools.ceph.store(wanted.image.id)
        if store is None:
            return "[ceph] store_cluster is not set"
        if store[0].cluster.fsid != found.cluster.fsid:
            return f"{wanted.disk.target} is in another Ceph cluster than the image store"
    pool = _target(wanted, disk, tools).pool
    capabilities.check_room(found.cluster, pool)
    return tools.store.location_obstacle(found.cluster.fsid, pool)


def _target(wanted: Wanted, disk: RbdPlace, tools: Tools) -> RbdPlace:
    """Where the image goes: reached as the disk is, since one user has to read that and write this."""
    options = tools.ceph.options
    pool = {OWN: disk.pool, STORE: options.store_pool}.get(options.target_pool, options.target_pool)
    return replace(disk, pool=pool, image=wanted.image.id, snap=None)


def _cloned(work: Work, held: HeldDisk) -> ImageResult:
    wanted, snapshot, tools = held.wanted, held.snapshot, work.tools
    assert snapshot is not None  # noqa: S101 - see obstacle
    source = tools.ceph.at(snapshot, held.fsid)
    with work.timeline.step(f"clone {wanted.disk.target}") as step:
        _inspect(work, source)
        place = _target(wanted, snapshot, tools)
        with rbdimage.making(work, wanted, tools.ceph.at(place, held.fsid), place) as image, _linked(work, image):
            target, seconds = image.found.image, tools.options.step_deadline
            images.clone(
                *(source.cluster, source.image, source.snap, target, image.owner),
                flat_later=_when(work, wanted) == BACKGROUND,
                timeout=seconds,
            )
        step.tell_operator(f"into pool {place.pool}")
    _flatten(work, held, image)
    md5 = None
    if tools.ceph.options.enable_verify_image_md5sum:
        with work.timeline.step(f"md5 {wanted.disk.target}") as step:
            md5 = rbdimage.hashed(work, source, step)
    return rbdimage.finished(work, image, snapshot if _when(work, wanted) == NEVER else None, md5)


def _inspect(work: Work, source: OnRbd) -> None:
    with RbdReader(source.cluster, source.image, source.snap) as reader:
        refuse_disguise(reading.read(reader, 0, inspection.HEAD, work.control.check), "raw")


def _linked(work: Work, image: rbdimage.Making) -> AbstractContextManager[None]:
    """What the block clones is to be made flat once it is published, where that is wanted."""
    if _when(work, image.wanted) != BACKGROUND:
        return nullcontext()
    return work.leases.taking(ParentLink(image.place, image.lease.fsid, image.owner))


def _flatten(work: Work, held: HeldDisk, image: rbdimage.Making) -> None:
    """Makes the image flat now, where that is wanted."""
    if _when(work, held.wanted) == NOW:
        with work.timeline.step(f"flatten {held.wanted.disk.target}"):
            flatten(image.found.cluster, image.found.image, work.control)


def _when(work: Work, wanted: Wanted) -> str:
    """When the clone is made independent. Cinder deletes a volume without asking us: what hangs on it must not last."""
    of_cinder = wanted.disk.serial in work.subject.instance.volumes
    return NOW if of_cinder else work.tools.ceph.options.flatten


def _tie(work: Work, held: HeldDisk) -> None:
    """From now on the snapshot stays as long as the image, if that is published."""
    assert held.snapshot is not None  # noqa: S101 - see obstacle
    lease = DiskSnapshot(held.snapshot, held.fsid)
    with work.leases.taking(replace(lease, kept_for=held.wanted.image.id)):
        if lease in work.leases.of(DiskSnapshot):  # not when it was done before a restart
            work.leases.drop(lease)
