"""Source `reflink`: files of a live domain shared by FICLONE while its processors stand still for milliseconds."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from stillframe.capture import quiesce
from stillframe.capture.held import HeldDisk, Hold
from stillframe.capture.sources.copies import below_unchanged, fingerprint_below, obstacle_to_copies, share
from stillframe.capture.sources.exports import obstacle_to_export
from stillframe.capture.sources.suspension import standing_still
from stillframe.capture.subject import Subject
from stillframe.capture.tools import Tools
from stillframe.capture.work import Work
from stillframe.errors.capture import InstantLost, WayClosed
from stillframe.hypervisor import power
from stillframe.model import PowerState, now


class Reflink:
    """The source for live disks on filesystems that share blocks."""

    name = "reflink"
    cheap = True

    def obstacle(self, subject: Subject, tools: Tools) -> str | None:
        """It needs QEMU to stand still, and files on such a filesystem."""
        if not subject.live:
            return f"the instance is {subject.instance.vm_state.value}"
        return obstacle_to_export(subject) or obstacle_to_copies(subject, tools)

    def hold(self, work: Work) -> Hold:
        """Freezes, suspends, shares the blocks, resumes, thaws."""
        quiesce.trim(work)
        run = work.subject.instance.run
        below = fingerprint_below(work.subject)
        instant, (held, stopped_ms) = quiesce.at_one_instant(work, lambda: _share_while_stopped(work))
        hold = Hold(self.name, replace(instant, stopped_ms=stopped_ms), held, run, below)
        below_unchanged(work.subject, hold)
        return hold

    def check(self, work: Work, hold: Hold) -> None:
        """The copies are ours alone, but not what lies below them."""
        below_unchanged(work.subject, hold)

    def resume(self, work: Work, hold: Hold) -> Hold:
        """The copies outlive everything but their removal."""
        missing = [held.files.top.path for held in hold.disks if held.files and not Path(held.files.top.path).exists()]
        if missing:
            raise InstantLost(reason="the copies of the disks were removed")
        self.check(work, hold)
        return hold


def _share_while_stopped(work: Work) -> tuple[datetime, tuple[tuple[HeldDisk, ...], float | None]]:
    """When; the held disks, and for how many milliseconds we stopped the guest (None: someone else had paused it)."""
    began = time.monotonic()
    with standing_still(work) as stopped:
        held, at = share(work), now()
        if power.state(work.tools.hypervisor, work.subject.instance.id)[0] != PowerState.PAUSED:
            raise WayClosed(way="reflink", reason="the guest was resumed by someone else meanwhile")
    return at, (held, round((time.monotonic() - began) * 1000, 1) if stopped else None)
