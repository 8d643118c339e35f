"""Source `reflink`: files of a live domain shared by FICLONE while its processors stand still for milliseconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from stillframe.capture import quiesce
from stillframe.capture.guarding import Arm, ArmKind
from stillframe.capture.held import HeldDisk, Hold
from stillframe.capture.leases import SuspendedGuest
from stillframe.capture.sources.copies import obstacle_to_copies, share
from stillframe.capture.subject import Subject
from stillframe.capture.tools import Tools
from stillframe.capture.work import Work
from stillframe.errors import InstantLost, WayClosed
from stillframe.hypervisor import power
from stillframe.model import PowerState


class Reflink:
    """The source for live disks on filesystems that share blocks."""

    name = "reflink"
    cheap = True

    def obstacle(self, subject: Subject, tools: Tools) -> str | None:
        """It needs QEMU to stand still, and files on such a filesystem."""
        if not subject.live:
            return f"the instance is {subject.instance.vm_state.value}"
        return obstacle_to_copies(subject, tools)

    def hold(self, work: Work) -> Hold:
        """Freezes, suspends, shares the blocks, resumes, thaws."""
        quiesce.trim(work)
        run = work.subject.instance.run
        instant, (held, stopped_ms) = quiesce.at_one_instant(work, lambda: _share_while_stopped(work))
        return Hold(self.name, replace(instant, stopped_ms=stopped_ms), held, run)

    def check(self, work: Work, hold: Hold) -> None:
        """The copies are ours alone: nothing can happen to them."""

    def resume(self, work: Work, hold: Hold) -> Hold:  # noqa: ARG002 - the source's signature
        """The copies outlive everything but their removal."""
        missing = [held.files.top.path for held in hold.disks if held.files and not Path(held.files.top.path).exists()]
        if missing:
            raise InstantLost(reason="the copies of the disks were removed")
        return hold


def _share_while_stopped(work: Work) -> tuple[tuple[HeldDisk, ...], float | None]:
    """The held disks, and for how many milliseconds we stopped the guest (None: someone else had paused it)."""
    with _standing_still(work) as stopped:
        began = time.monotonic()
        held = share(work)
        if power.state(work.tools.hypervisor, work.subject.instance.id)[0] != PowerState.PAUSED:
            raise WayClosed(way="reflink", reason="the guest was resumed by someone else meanwhile")
    return held, round((time.monotonic() - began) * 1000, 1) if stopped else None


@contextmanager
def _standing_still(work: Work) -> Iterator[bool]:
    """The guest's processors stand still in here; yields whether we stopped them, and then starts them again."""
    subject, tools = work.subject, work.tools
    if not subject.running or subject.instance.run is None:
        yield False
        return
    lease = SuspendedGuest(subject.instance.id, subject.instance.run, f"{work.capture_id}:resume")
    work.leases.take(lease)
    tools.guard.arm(Arm(lease.key, ArmKind.RESUME, lease.instance_id, lease.run, tools.options.freeze_timeout))
    try:
        power.suspend(tools.hypervisor, subject.instance.id)
        yield True
    finally:
        work.leases.give_back(lease)
