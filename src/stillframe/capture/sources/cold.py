"""Source `cold`: a running guest is paused for the whole copy, when that is wished; no job of libvirt, no scratch."""

from __future__ import annotations

from stillframe.capture.held import HeldDisk, Hold
from stillframe.capture.sources.exports import obstacle_to_export
from stillframe.capture.sources.suspension import suspend
from stillframe.capture.subject import Subject
from stillframe.capture.tools import Tools
from stillframe.capture.work import Work
from stillframe.errors.capture import InstanceGone, InstantLost, WayClosed
from stillframe.hypervisor import power
from stillframe.model import Consistency, Instant, PowerState, now


class Cold:
    """The source for guests that are to stand still."""

    name = "cold"
    cheap = False  # the guest stands still as long as it is held

    def obstacle(self, subject: Subject, tools: Tools) -> str | None:  # noqa: ARG002 - the source's signature
        """It is for running guests whose pause is wished."""
        if not (subject.cold and subject.running):
            return "nobody asked to pause a running guest"
        if subject.require_quiesce:
            return "a guest that is paused cannot be frozen, which is required"
        return obstacle_to_export(subject)

    def hold(self, work: Work) -> Hold:
        """QEMU writes out all it has when it pauses; from then on the files are at rest."""
        subject = work.subject
        with work.timeline.step("instant") as step:
            if suspend(work, None) is None:
                raise WayClosed(way="cold", reason="someone else paused or stopped the guest just now")
            step.note("the guest stays paused until its disks are copied")
        held = tuple(HeldDisk(wanted, files=wanted.disk) for wanted in subject.wanted)
        return Hold(self.name, Instant(now(), Consistency.CRASH), held, subject.instance.run)

    def check(self, work: Work, hold: Hold) -> None:
        """Still paused, and still the same run."""
        instance = work.subject.instance
        state, reason = power.state(work.tools.hypervisor, instance.id)
        if state != PowerState.PAUSED or power.run(work.tools.hypervisor, instance.id) != hold.run:
            raise InstanceGone(instance=instance.id, what=f"did not stay paused ({reason})")

    def resume(self, work: Work, hold: Hold) -> Hold:  # noqa: ARG002
        """Never: the guard lets the guest go on as soon as the agent dies."""
        raise InstantLost(reason="the guest was resumed when the agent stopped")
