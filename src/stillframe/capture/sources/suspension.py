"""Stopping a guest's processors in such a way that they go on whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stillframe.capture.guarding import Arm, ArmKind
from stillframe.capture.leases import SuspendedGuest
from stillframe.capture.work import Work
from stillframe.hypervisor import power


def suspend(work: Work, seconds: float | None) -> SuspendedGuest | None:
    """Stops a running guest, for so many seconds at the most (None: as long as the agent lives).

    None when it had stopped just before: a pause that is someone else's is never ended by us.
    """
    instance, tools = work.subject.instance, work.tools
    assert instance.run is not None  # noqa: S101 - it ran when it was looked at
    lease = SuspendedGuest(instance.id, instance.run, f"{work.capture_id}:resume")
    with work.leases.taking(lease):
        tools.guard.arm(Arm(lease.key, ArmKind.RESUME, lease.instance_id, lease.run, seconds))
        suspended = power.suspend(tools.hypervisor, instance.id)
    if suspended:
        return lease
    work.leases.drop(lease)
    tools.guard.disarm(lease.key)
    return None


@contextmanager
def standing_still(work: Work) -> Iterator[bool]:
    """The guest's processors stand still in here; yields whether we stopped them, and then starts them again."""
    if not work.subject.running:
        yield False
        return
    lease = suspend(work, work.tools.options.freeze_timeout)
    try:
        yield lease is not None
    finally:
        if lease:
            work.leases.give_back(lease)
