"""Source `volumes`: the guest is held still while Cinder takes snapshots of all its volumes, asked by the API process.

That process has the user's token, and this host has the guest: both go by the capture's record, see
controller/volumesets.py. No disk is touched here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from stillframe.capture import quiesce
from stillframe.capture.held import HeldDisk, Hold
from stillframe.capture.sources.snapshot import proven
from stillframe.capture.sources.suspension import standing_still
from stillframe.capture.subject import Subject
from stillframe.capture.tools import Tools
from stillframe.capture.work import Work
from stillframe.errors.base import StillframeError
from stillframe.errors.capture import DeadlineExceeded
from stillframe.errors.cinder import VolumesInMotion
from stillframe.errors.service import ControllerUnreachable, DatabaseUnusable
from stillframe.model import Consistency, now

ASK = 0.05  # seconds between two questions whether the snapshots are there
AWAY = (ControllerUnreachable.code, DatabaseUnusable.code)


class Volumes:
    """The source for instances that boot from a volume, where images are to name snapshots."""

    name = "volumes"
    cheap = True

    def obstacle(self, subject: Subject, tools: Tools) -> str | None:  # noqa: ARG002
        """None: the guest need not be frozen where there is one volume only."""
        return None

    def hold(self, work: Work) -> Hold:
        """Freezes, waits for the snapshots, thaws. Raises VolumesInMotion when they are not of one instant."""
        quiesce.trim(work)
        stopped: list[float] = []
        instant, _ = quiesce.at_one_instant(
            work, lambda: _await_snapshots(work), otherwise=lambda: _otherwise_still(work, stopped)
        )
        instant = proven(work, instant)
        if instant.frozen_ms is not None and instant.consistency is not Consistency.FILESYSTEM:
            _expect_one_instant(work, "the guest was thawed before Cinder had taken all")
        instant = replace(instant, stopped_ms=next(iter(stopped), None))
        disks = tuple(HeldDisk(wanted) for wanted in work.subject.wanted)
        return Hold(self.name, instant, disks, work.subject.instance.run)

    def check(self, work: Work, hold: Hold) -> None:
        """The snapshots are the user's: what he does with them is his."""

    def resume(self, work: Work, hold: Hold) -> Hold:  # noqa: ARG002
        """The snapshots outlive guest and agent."""
        return hold


def _await_snapshots(work: Work) -> tuple[datetime, None]:
    """Says that the guest stands still, until the snapshots are there, and when that was; raises DeadlineExceeded."""
    seconds = work.tools.options.freeze_timeout
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if work.controller.stand_still(work.capture_id, work.attempt):
                return now(), None
        except StillframeError as error:
            if error.fault.code not in AWAY:
                raise
        work.control.sleep(ASK)
    raise DeadlineExceeded(what="Taking the snapshots of all volumes", seconds=seconds)


@contextmanager
def _otherwise_still(work: Work, stopped: list[float]) -> Iterator[None]:
    """Of a guest that cannot be frozen: paused, where that is wanted; several volumes are of no instant otherwise."""
    if not work.subject.running:
        yield
        return
    if not work.tools.options.pause_for_volumes:
        _expect_one_instant(work, "the guest could not be frozen")
        yield
        return
    began = time.monotonic()
    with standing_still(work) as paused:
        yield
        if work.tools.guard.acted(f"{work.capture_id}:resume"):
            _expect_one_instant(work, "the guard had to resume the guest before Cinder had taken all")
    if paused:
        stopped.append(round((time.monotonic() - began) * 1000, 1))


def _expect_one_instant(work: Work, reason: str) -> None:
    """One volume is of one instant by itself."""
    instance = work.subject.instance
    if len(instance.volumes) > 1:
        raise VolumesInMotion(instance=instance.id, reason=reason)
