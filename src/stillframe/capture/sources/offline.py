"""Source `offline`: the disks of an instance that is shut off or suspended to disk.

Copies that share blocks where the filesystem can; else the disks themselves, read without a lock: a start of the
domain is never kept, and ends the capture.
"""

from __future__ import annotations

from stillframe.capture.held import HeldDisk, Hold
from stillframe.capture.sources.copies import below_unchanged, fingerprint_below, obstacle_to_copies, share
from stillframe.capture.sources.exports import obstacle_to_export
from stillframe.capture.subject import Subject
from stillframe.capture.tools import Tools
from stillframe.capture.work import Work
from stillframe.disks.fingerprint import fingerprint
from stillframe.errors.capture import InstanceGone, InstantLost, ReadFailed
from stillframe.hypervisor import power
from stillframe.model import Consistency, Disk, Instant, VmState, now


class Offline:
    """The source for disks that QEMU does not have open."""

    name = "offline"
    cheap = True

    def obstacle(self, subject: Subject, tools: Tools) -> str | None:  # noqa: ARG002 - the source's signature
        """It needs the domain to be off, and files or devices on this host."""
        if subject.live:
            return f"the instance is {subject.instance.vm_state.value}, and QEMU writes to its disks"
        return obstacle_to_export(subject)

    def hold(self, work: Work) -> Hold:
        """The instant is now: nobody writes."""
        subject = work.subject
        with work.timeline.step("instant") as step:
            before = _fingerprint(subject)
            instant = Instant(now(), _consistency(subject))
            shared_not = obstacle_to_copies(subject, work.tools)
            if shared_not is None:
                below = fingerprint_below(subject)
                held, proof = share(work), below
                step.note("copies that share the disks' blocks")
            else:
                held = tuple(HeldDisk(wanted, files=wanted.disk) for wanted in subject.wanted)
                proof = before
                step.note(f"the disks themselves, read-only ({shared_not})")
            _still_off(work, before)
        return Hold(self.name, instant, held, None, proof)

    def check(self, work: Work, hold: Hold) -> None:
        """A start of the domain makes the disk another one, unless it was copied."""
        if all(held.own for held in hold.disks):
            below_unchanged(work.subject, hold)
        else:
            _still_off(work, hold.fingerprint)

    def resume(self, work: Work, hold: Hold) -> Hold:
        """The same bytes, if nobody has written since."""
        try:
            self.check(work, hold)
        except InstanceGone as error:
            raise InstantLost(reason=error.fault.message.rstrip(".")) from error
        return hold


def _consistency(subject: Subject) -> Consistency:
    """A guest suspended to disk has filesystems that are mounted; one that is shut off has not."""
    return Consistency.OFFLINE if subject.instance.vm_state == VmState.STOPPED else Consistency.CRASH


def _fingerprint(subject: Subject) -> str:
    return " ".join(_of(subject, wanted.disk) for wanted in subject.wanted)


def _of(subject: Subject, disk: Disk) -> str:
    try:
        return fingerprint(disk)
    except ReadFailed as error:
        operator = error.fault.operator
        raise InstanceGone(instance=subject.instance.id, what=f"lost disk {disk.target}", operator=operator) from error


def _still_off(work: Work, before: str) -> None:
    instance = work.subject.instance
    if power.run(work.tools.hypervisor, instance.id) is not None:
        raise InstanceGone(instance=instance.id, what="was started")
    if _fingerprint(work.subject) != before:
        raise InstanceGone(instance=instance.id, what="was started and stopped, or its disk was written to,")
