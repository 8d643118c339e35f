"""What stands against a capture, or ends it."""

from __future__ import annotations

from stillframe.errors.base import StillframeError


class NoWay(StillframeError):
    code, status = "no-way", 409
    sentence = "Disk {disk} of instance {instance} cannot be captured in any way: {reasons}."
    hint = "Each reason names what would have to change."


class WayClosed(StillframeError):
    """One way did not work out, for a cause that leaves the others open: the planner goes on with the next."""

    code, status = "way-closed", 409
    sentence = "The way {way} is closed: {reason}."
    hint = "The timeline tells which way was taken instead."


class NoSuchDisk(StillframeError):
    code, status = "no-such-disk", 400
    sentence = "Instance {instance} has no disk {disk} that could be captured; it has: {disks}."
    hint = "Name one of its disks, or none for the root disk."


class DiskEncrypted(StillframeError):
    code, status = "disk-encrypted", 409
    sentence = "Disk {disk} is encrypted ({by}), and its image would hold the decrypted bytes."
    hint = "Set [capture] allow_decrypted if the image store may hold them."


class ChainUnknown(StillframeError):
    code, status = "chain-unknown", 409
    sentence = "The chain of disk {disk} cannot be told: {reason}."
    hint = "Record the format of every backing file (qemu-img rebase -u -F FORMAT); formats are never guessed."


class CannotFreeze(StillframeError):
    code, status = "cannot-freeze", 409
    sentence = "Instance {instance} requires a quiesced image, but its guest was not frozen: {reason}."
    hint = "Install and start qemu-guest-agent in the guest, or take os_require_quiesce off the image."


class GuestAgentUnavailable(StillframeError):
    code, status = "guest-agent-unavailable", 409
    sentence = "The guest agent of instance {instance} cannot be reached."
    hint = "Install and start qemu-guest-agent in the guest, and give the domain its channel."


class GuestAgentTimeout(StillframeError):
    code, status = "guest-agent-timeout", 504
    sentence = "The guest agent of instance {instance} did not answer within {seconds:g} seconds."
    hint = "Look at the agent inside the guest; [capture] agent_timeout is how long it is waited for."


class GuestAgentFailed(GuestAgentUnavailable):
    code, status = "guest-agent-failed", 409
    sentence = "The guest agent of instance {instance} could not {what}."
    hint = "The operator's part has the guest's own words."


class FrozenByOther(StillframeError):
    code, status = "frozen-by-other", 409
    sentence = "The filesystems of instance {instance} were already frozen by someone else."
    hint = "Whoever froze the guest must thaw it: virsh domfsthaw."


class ForeignJob(StillframeError):
    code, status = "foreign-job", 409
    sentence = "Another job of libvirt runs on instance {instance}: {job}."
    hint = "Wait for its end (virsh domjobinfo), or raise [capture] job_wait."


class ScratchUnsafe(StillframeError):
    code, status = "scratch-unsafe", 409
    sentence = (
        "Disk {disk} reports write errors to its guest (error_policy '{policy}'), and {needed} bytes of scratch space"
        " cannot be reserved for it: {reason}."
    )
    hint = "Give [capture] scratch_dir more room, or set the disk's error_policy to stop."


class ScratchFull(StillframeError):
    code, status = "scratch-full", 507
    sentence = (
        "The scratch space of the capture ran full: {used} of {cap} bytes used, {free} bytes free on its filesystem,"
        " of which {reserve} stay free."
    )
    hint = "Raise [capture] scratch_cap or give scratch_dir more room, or capture when the guest writes less."


class ScratchFailed(StillframeError):
    code, status = "scratch-failed", 507
    sentence = "An I/O error paused the guest of instance {instance} in the capture; it was resumed, and lost nothing."
    hint = "Check the filesystem of the scratch directory: its space, its quota, its health."

    def __init__(self, *, instance: str, scratch: object) -> None:
        super().__init__(instance=instance, operator=f"scratch directory {scratch}")


class NoSpace(StillframeError):
    code, status = "no-space", 507
    sentence = "The {what} has too little room: {needed} bytes needed, {free} free."
    hint = "Free some space, or point the option at a larger filesystem."


class UnsafeContent(StillframeError):
    code, status = "unsafe-content", 409
    sentence = "The guest's disk begins with {found}, so its raw image would not be read as what it is."
    hint = "Capture it as qcow2, where the disk's own bytes cannot be taken for a format."


class HypervisorUnavailable(StillframeError):
    code, status = "hypervisor-unavailable", 503
    sentence = "The hypervisor of this host cannot be reached."
    hint = "Check that libvirtd runs and that Stillframe may use its socket."


class HypervisorFailed(StillframeError):
    code, status = "hypervisor-failed", 500
    sentence = "The hypervisor could not {what}."
    hint = "The operator's part has libvirt's own words."


class InstanceGone(StillframeError):
    code, status = "instance-gone", 409
    sentence = "Instance {instance} {what} during the capture."
    hint = "Capture it again when it is back."


class InstantLost(StillframeError):
    code, status = "instant-lost", 409
    sentence = "The state that the capture held still was lost: {reason}."
    hint = "Capture again; [capture] allow_new_instant lets Stillframe do so by itself."


class ReadFailed(StillframeError):
    code, status = "read-failed", 500
    sentence = "Reading the held disk failed at byte {offset}."
    hint = "The operator's part has the system's own words; check the disk's storage."


class WriteFailed(StillframeError):
    code, status = "write-failed", 507
    sentence = "Writing the image failed at byte {offset}: {reason}."
    hint = "Check the image store's space and health."


class VerifyFailed(StillframeError):
    code, status = "verify-failed", 500
    sentence = "Image {image} reads differently than what was written to it: md5 {found} instead of {expected}."
    hint = "It was removed. Check the health of the image store's cluster (ceph health detail) before anything else."


class ToolFailed(StillframeError):
    code, status = "tool-failed", 500
    sentence = "{tool} failed."
    hint = "The operator's part has its own words."


class DeadlineExceeded(StillframeError):
    code, status = "deadline-exceeded", 504
    sentence = "{what} took longer than {seconds:g} seconds."
    hint = "Look for what hangs; the deadlines are options of [capture]."


class CaptureCancelled(StillframeError):
    code, status = "cancelled", 409
    sentence = "The capture was cancelled by its user."
    hint = "Nothing needs to be done."


class Superseded(StillframeError):
    code, status = "superseded", 409
    sentence = "This attempt at the capture was given up: {reason}."
    hint = "Look at the capture's record for what became of it."


class ServiceStopped(StillframeError):
    code, status = "service-stopped", 503
    sentence = "Stillframe was stopped before the capture had ended."
    hint = "Start the service and capture again."


class HostUnreachable(StillframeError):
    code, status = "host-unreachable", 503
    sentence = "Host {host} has not been heard of since {since}."
    hint = "Check the agent on that host."


class HostTaken(StillframeError):
    code, status = "host-taken", 409
    sentence = "Host {host} is another agent's, which was last heard of at {since}: this one is given no work."
    hint = (
        "Give each machine a [DEFAULT] host of its own. An agent that replaces a dead one is accepted"
        " after [controller] host_timeout."
    )


class CaptureHung(StillframeError):
    code, status = "capture-hung", 504
    sentence = "Nothing of the capture has moved for {seconds:g} seconds, in step {step}: it was given up."
    hint = "The guest was given back. What is still held is given back when the call returns; the log has which it is."


class ErrorReported(StillframeError):
    code, status = "error-reported", 507
    sentence = "QEMU reported an I/O error to the guest of instance {instance} in the capture, which was ended at once."
    hint = (
        "Look at the guest's filesystems, and at the health and the quota of the scratch directory's. A guest whose"
        " disks have error_policy='stop' would have been paused instead, and resumed without a loss."
    )

    def __init__(self, *, instance: str, scratch: object) -> None:
        super().__init__(instance=instance, operator=f"scratch directory {scratch}")
