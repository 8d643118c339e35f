"""Source `backup`: libvirt's pull-mode backup of a running or paused domain.

QEMU keeps what the guest overwrites in scratch files and serves the state at the start on a socket.
"""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

from stillframe.capture import quiesce
from stillframe.capture.guarding import REPORTED, Arm, ArmKind
from stillframe.capture.held import HeldDisk, Hold
from stillframe.capture.leases import BackupJob, OwnFile
from stillframe.capture.subject import Subject, Wanted
from stillframe.capture.timeline import OpenStep
from stillframe.capture.tools import Tools
from stillframe.capture.work import Work
from stillframe.config import MIB
from stillframe.disks import chain, regions, scratch, space
from stillframe.errors.capture import (
    ErrorReported,
    ForeignJob,
    InstanceGone,
    InstantLost,
    NoSpace,
    ScratchFailed,
    ScratchFull,
    ScratchUnsafe,
)
from stillframe.hypervisor import backup, inventory, power
from stillframe.model import PowerState, now

# libvirt's policies under which a guest sees an error of the scratch as an error of its own disk
TELLS_THE_GUEST = ("report", "ignore")
STOPS, BY_DEFAULT = "stop", "enospace"  # for any error, and for want of room only: a quota is told to the guest


class Backup:
    """The source for every live disk."""

    name = "backup"
    cheap = False  # scratch grows as long as it is held

    def obstacle(self, subject: Subject, tools: Tools) -> str | None:  # noqa: ARG002 - the source's signature
        """It needs QEMU."""
        return None if subject.live else f"the instance is {subject.instance.vm_state.value}, and QEMU does not run"

    def hold(self, work: Work) -> Hold:
        """Prepares scratch and socket beforehand, so that the guest is frozen for the start of the job only."""
        subject, tools = work.subject, work.tools
        assert subject.instance.run is not None  # noqa: S101 - live, see obstacle
        _wait_for_others(work)
        with work.timeline.step("prepare") as step:
            socket = work.socket_path()
            held = _make_scratch(work, step, str(socket))
            os.chown(socket.parent, *_owner(work))
            step.note(f"at most {tools.options.scratch_cap // MIB} MiB of scratch")
        quiesce.trim(work)
        lease = _lease(work, str(socket), subject.instance.run)
        with work.leases.taking(lease):
            tools.guard.arm(_watch(lease, held, tools))
            with _prepared(work, socket, held) as job:
                instant, _ = quiesce.at_one_instant(work, lambda: _begun(job))
        return Hold(self.name, instant, held, subject.instance.run)

    def check(self, work: Work, hold: Hold) -> None:
        """The domain still runs, the scratch has room, and libvirt did not pause the guest for want of it."""
        tools, instance = work.tools, work.subject.instance
        state, reason = power.state(tools.hypervisor, instance.id)
        if state not in (PowerState.RUNNING, PowerState.PAUSED):
            raise InstanceGone(instance=instance.id, what=f"was stopped ({reason})")
        run = power.run(tools.hypervisor, instance.id)
        if run != hold.run:  # known before libvirt has noticed QEMU's end
            raise InstanceGone(instance=instance.id, what="was stopped and started again" if run else "was stopped")
        if work.subject.running and (state, reason) == (PowerState.PAUSED, power.IO_ERROR):
            raise ScratchFailed(instance=instance.id, scratch=tools.options.scratch_dir)
        used = sum(scratch.kept(Path(disk.scratch), disk.empty) for disk in hold.disks if disk.scratch)
        cap = tools.options.scratch_cap
        free = space.free(tools.options.scratch_dir)
        if used >= cap or free < tools.options.scratch_reserve:
            raise ScratchFull(used=used, cap=cap, free=free, reserve=tools.options.scratch_reserve)
        _check_job(work, hold)

    def resume(self, work: Work, hold: Hold) -> Hold:
        """The job outlives the agent: it is there, with our socket, or it is lost."""
        instance, tools = work.subject.instance, work.tools
        socket = hold.disks[0].socket
        if power.run(tools.hypervisor, instance.id) != hold.run:
            raise InstantLost(reason="the instance was stopped or started again")
        if str(backup.backup_socket(tools.hypervisor, instance.id)) != socket:
            raise InstantLost(reason="the backup job has ended")
        assert hold.run is not None  # noqa: S101 - a backup is of a run
        lease = _lease(work, str(socket), hold.run)
        tools.guard.arm(_watch(lease, hold.disks, tools))
        return hold


def _prepared(work: Work, socket: Path, held: tuple[HeldDisk, ...]) -> AbstractContextManager[backup.Backup]:
    targets = [(disk.wanted.disk.target, disk.scratch) for disk in held]
    disks = [backup.BackupDisk(target, target, Path(path)) for target, path in targets if path]
    return backup.prepared(work.tools.hypervisor, work.subject.instance.id, socket, disks, work.subject.others)


def _begun(job: backup.Backup) -> tuple[datetime, None]:
    job.begin()
    return now(), None


def _lease(work: Work, socket: str, run: str) -> BackupJob:
    return BackupJob(work.subject.instance.id, run, socket, _key(work), work.subject.running)


def _key(work: Work) -> str:
    """The guard's name for the job."""
    return f"{work.capture_id}:backup"


def _check_job(work: Work, hold: Hold) -> None:
    """The job still runs; only the guard ends it before we do, for want of scratch, or someone who may."""
    tools, instance = work.tools, work.subject.instance.id
    if str(backup.backup_socket(tools.hypervisor, instance)) == hold.disks[0].socket:
        return
    why = tools.guard.acted(_key(work))
    if why == REPORTED:
        raise ErrorReported(instance=instance, scratch=tools.options.scratch_dir)
    if why:
        raise ScratchFailed(instance=instance, scratch=f"{tools.options.scratch_dir}, and the guard acted, since {why}")
    raise InstantLost(reason="someone else ended the backup job")


def _wait_for_others(work: Work) -> None:
    """A job of someone else is never aborted: the capture waits for it, or fails with its name."""
    deadline = time.monotonic() + work.tools.options.job_wait
    instance = work.subject.instance.id
    while job := backup.running_job(work.tools.hypervisor, instance):
        if time.monotonic() >= deadline:
            raise ForeignJob(instance=instance, job=job)
        work.control.sleep(0.2)


def _make_scratch(work: Work, step: OpenStep, socket: str) -> tuple[HeldDisk, ...]:
    """A scratch file for each wanted disk, with its space reserved as far as that is needed and possible."""
    options = work.tools.options
    owner = _owner(work)
    held = []
    for wanted in work.subject.wanted:
        path = options.scratch_dir / f"{work.capture_id}-{wanted.disk.target}.scratch"
        with work.leases.taking(OwnFile(str(path))):
            path.unlink(missing_ok=True)  # of an attempt that was cut off
            tables = regions.occupied(wanted.disk, scratch.TABLE)
            empty = scratch.make(path, wanted.disk.size, tables, owner)
        step.note(f"{wanted.disk.target}: {_reserve(wanted, path, work.tools)}")
        held.append(HeldDisk(wanted, socket=socket, scratch=str(path), empty=empty))
    return tuple(held)


def _reserve(wanted: Wanted, path: Path, tools: Tools) -> str:
    """Space that is reserved cannot run out: needed where the guest would be told of it as an I/O error.

    Returns what was reserved, in words; raises NoSpace, ScratchUnsafe.
    """
    needed = scratch.most(wanted.disk.size, chain.allocated(wanted.disk))
    free = space.free(path.parent) - tools.options.scratch_reserve
    if free <= 0:
        raise NoSpace(
            what="scratch directory", needed=tools.options.scratch_reserve, free=max(free, 0), operator=str(path.parent)
        )
    if wanted.disk.error_policy in TELLS_THE_GUEST:
        reason = f"only {free} bytes are free" if free < needed else scratch.reserve(path, needed)
        if reason:
            raise ScratchUnsafe(disk=wanted.disk.target, policy=wanted.disk.error_policy, needed=needed, reason=reason)
        return f"{needed // MIB} MiB reserved"
    # Best effort: a disk that stops its guest loses nothing when the scratch runs full. The image may have to go onto
    # the same filesystem, and others write there too.
    some = min(needed, tools.options.scratch_cap, max(free - needed, 0) // 2)
    reason = scratch.reserve(path, some) if some else "there is too little room"
    if reason == scratch.QUOTA and wanted.disk.error_policy != STOPS:
        policy = wanted.disk.error_policy or BY_DEFAULT
        raise ScratchUnsafe(disk=wanted.disk.target, policy=policy, needed=some, reason=reason)
    return f"nothing reserved ({reason})" if reason else f"{some // MIB} of {needed // MIB} MiB reserved"


def _owner(work: Work) -> tuple[int, int]:
    """User and group of this guest's QEMU."""
    return inventory.qemu_owner(work.tools.hypervisor, work.subject.instance.id) or (os.getuid(), os.getgid())


def _watch(lease: BackupJob, held: tuple[HeldDisk, ...], tools: Tools) -> Arm:
    """The guard looks at the files' lengths, and an empty one has some."""
    return Arm(
        key=lease.key,
        kind=ArmKind.ABORT,
        instance_id=lease.instance_id,
        run=lease.run,
        socket=lease.socket,
        scratch=tuple(disk.scratch for disk in held if disk.scratch),
        cap=tools.options.scratch_cap + sum(disk.empty for disk in held),
        reserve=tools.options.scratch_reserve,
    )
