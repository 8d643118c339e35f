"""Source `snapshot`: disks on RBD, each by a snapshot in its own cluster, which outlives guest and agent."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime

from stillframe.capture import quiesce
from stillframe.capture.held import HeldDisk, Hold
from stillframe.capture.rbdleases import DOUBT, DiskSnapshot
from stillframe.capture.sources.suspension import standing_still
from stillframe.capture.subject import Subject, Wanted
from stillframe.capture.tools import Tools
from stillframe.capture.work import Work
from stillframe.disks.ceph import PREFIX, OnRbd
from stillframe.disks.rbd import capabilities, snapshots
from stillframe.errors.capture import DeadlineExceeded, InstanceGone, InstantLost, WayClosed
from stillframe.errors.ceph import CephForbidden, CephUnreachable
from stillframe.hypervisor import power
from stillframe.model import Consistency, Disk, Instant, VmState, now

LOG = logging.getLogger(__name__)


class Snapshot:
    """The source for disks that are RBD images, of a domain that runs, is paused, or is off."""

    name = "snapshot"
    cheap = True

    def obstacle(self, subject: Subject, tools: Tools) -> str | None:
        """Every disk is an RBD image and nothing else, in a cluster that we reach as well."""
        for wanted in subject.wanted:
            reason = _obstacle(wanted.disk, tools)
            if reason:
                return f"{wanted.disk.target}: {reason}"
        return None

    def hold(self, work: Work) -> Hold:
        """Freezes, takes the snapshots, thaws. Raises WayClosed when the user may take none."""
        quiesce.trim(work)
        with ExitStack() as stack:
            disks = [_prepared(work, wanted, stack) for wanted in work.subject.wanted]
            instant, stopped_ms = quiesce.at_one_instant(work, lambda: _taken(work, disks))
        instant = replace(proven(work, instant), stopped_ms=stopped_ms)
        held = tuple(HeldDisk(disk.wanted, snapshot=disk.lease.place, fsid=disk.lease.fsid) for disk in disks)
        return Hold(self.name, instant, held, work.subject.instance.run)

    def check(self, work: Work, hold: Hold) -> None:
        """A disk can be deleted with its snapshots. That a cluster does not answer says nothing."""
        for held in hold.disks:
            try:
                there = _there(held, work.tools)
            except (CephUnreachable, DeadlineExceeded) as error:
                LOG.debug("capture %s: %s", work.capture_id, error)
            else:
                if not there:
                    raise InstantLost(reason=f"the snapshot of disk {held.wanted.disk.target} was removed")

    def resume(self, work: Work, hold: Hold) -> Hold:
        """The snapshots outlive everything but their removal."""
        if not all(_there(held, work.tools) for held in hold.disks):
            raise InstantLost(reason="the snapshots of the disks were removed")
        return hold


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A disk whose snapshot can be taken at once."""

    wanted: Wanted
    found: OnRbd
    lease: DiskSnapshot


def _obstacle(disk: Disk, tools: Tools) -> str | None:
    if disk.top.rbd is None:
        return f"its layer {disk.top.path.partition(':')[0]} is no RBD image that can be reached beside QEMU"
    if disk.top.format != "raw" or len(disk.chain) > 1:
        return f"it is {disk.top.format} on RBD, and not RBD alone"
    if disk.encryption:
        return f"it is encrypted ({disk.encryption}), and its snapshot would stay so"
    found = tools.ceph.at(disk.top.rbd)
    capabilities.check_room(found.cluster, found.image.pool)
    return None


def _prepared(work: Work, wanted: Wanted, stack: ExitStack) -> _Prepared:
    """Connected, and without what an attempt that was cut off has left."""
    place, seconds = wanted.disk.top.rbd, work.tools.options.step_deadline
    assert place is not None  # noqa: S101 - see _obstacle
    ours = replace(place, snap=f"{PREFIX}{wanted.image.id}")
    found = work.tools.ceph.at(ours)
    _expect_heard(work, found)
    lease = DiskSnapshot(ours, found.cluster.fsid)
    stack.enter_context(work.leases.taking(lease))
    if snapshots.exists(found.cluster, found.image, found.snap, timeout=seconds):
        snapshots.remove(found.cluster, found.image, found.snap, timeout=seconds)
    return _Prepared(wanted, found, lease)


def _expect_heard(work: Work, found: OnRbd) -> None:
    """A guest is never cut off from its disk for a snapshot: QEMU itself serves the disk then."""
    if not work.subject.live:
        return
    with _told():
        silent = snapshots.owner_silent(found.cluster, found.image, timeout=work.tools.options.step_deadline)
    if silent:
        reason = f"the cluster has not heard lately of who has {found.image} open, and would cut the guest off"
        raise WayClosed(way="snapshot", reason=reason)


@contextmanager
def _told() -> Iterator[None]:
    """What the user may not do closes the way, with what would allow it."""
    try:
        yield
    except CephForbidden as error:
        reason, operator = error.fault.message.rstrip("."), error.fault.operator
        raise WayClosed(way="snapshot", reason=reason, operator=operator) from error


def _taken(work: Work, disks: list[_Prepared]) -> tuple[datetime, float | None]:
    """Takes all snapshots; when, and for how many milliseconds we stopped the guest for it (None: we did not).

    One snapshot is of one instant by itself. Several are if nobody writes meanwhile: a freeze keeps filesystems still,
    but not what is written beside them.
    """
    began = time.monotonic()
    with standing_still(work) if len(disks) > 1 else nullcontext(False) as stopped:
        for disk in disks:
            _take(work, disk)
        at = now()
    return at, round((time.monotonic() - began) * 1000, 1) if stopped else None


def _take(work: Work, disk: _Prepared) -> None:
    """Opens the disk for this alone: see docs/decisions/ceph-calls.md."""
    found, seconds = disk.found, work.tools.options.freeze_timeout
    try:
        with _told():
            snapshots.create(found.cluster, found.image, found.snap, timeout=seconds)
    except DeadlineExceeded:
        with work.leases.taking(replace(disk.lease, doubtful_until=time.time() + DOUBT)):
            raise


def proven(work: Work, instant: Instant) -> Instant:
    """A disk of a domain that was off, and still is, holds filesystems that were unmounted."""
    instance = work.subject.instance
    if instance.vm_state is not VmState.STOPPED:
        return instant
    if power.run(work.tools.hypervisor, instance.id) is not None:
        raise InstanceGone(instance=instance.id, what="was started")
    return replace(instant, consistency=Consistency.OFFLINE)


def _there(held: HeldDisk, tools: Tools) -> bool:
    assert held.snapshot is not None  # noqa: S101 - of this source
    found = tools.ceph.at(held.snapshot, held.fsid)
    return snapshots.exists(found.cluster, found.image, found.snap, timeout=tools.ceph.options.timeout)
