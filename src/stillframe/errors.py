"""Every failure that somebody is told of.

One class a failure: a code that never changes once it is released, the public sentence with its values, a hint what
to do, the HTTP status. The operator's part (paths, hosts, pools, the library's own words) is for administrators only:
a class has a sentence for it too where some of its values are not for everybody.
The same `Fault` reaches API, timeline, log, notifications and CLI.
"""

from __future__ import annotations

from typing import Any, ClassVar

from stillframe.model import Fault


class StillframeError(Exception):
    """Base of every failure; the values fill the class's sentence. Raise a subclass, never this."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    sentence: ClassVar[str] = "An unexpected failure inside Stillframe."
    hint: ClassVar[str] = "The service's log has the details under the same request id."
    for_operator: ClassVar[str] = ""

    def __init__(self, *, operator: str = "", **values: Any) -> None:
        """`operator`: what else there is to say to administrators, as the library's own words."""
        self.values = values
        self.fault = Fault(
            code=self.code,
            message=self.sentence.format(**values),
            hint=self.hint.format(**values),
            operator=": ".join(filter(None, (self.for_operator.format(**values), operator))),
            status=self.status,
        )
        super().__init__(self.fault.message)

    def __str__(self) -> str:
        return f"{self.fault.message} ({self.fault.operator})" if self.fault.operator else self.fault.message


class Reported(StillframeError):
    """A failure that reached us as a record: from another process, a message or the database."""

    def __init__(self, fault: Fault) -> None:
        Exception.__init__(self, fault.message)
        self.values = {}
        self.fault = fault


def fault_of(error: BaseException) -> Fault:
    """The fault to record for any exception; an unforeseen one becomes `internal` with its type and words."""
    if isinstance(error, StillframeError):
        return error.fault
    return StillframeError(operator=f"{type(error).__name__}: {error}").fault


# --------------------------------------------------------------------------------------- what the caller got wrong


class BadRequest(StillframeError):
    code, status = "bad-request", 400
    sentence = "{reason}"
    hint = "Correct the request and send it again."


class NotSignedIn(StillframeError):
    code, status = "not-signed-in", 401
    sentence = "This request needs a user name and a password."
    hint = "Sign in, or use the service's Unix socket on its own host."


class Forbidden(StillframeError):
    code, status = "forbidden", 403
    sentence = "Policy does not allow {rule} to be performed."
    hint = "Ask an administrator for a role that the policy accepts."


class QuotaExceeded(StillframeError):
    code, status = "quota-exceeded", 403
    sentence = "{what} limit exceeded: {given} given, {limit} allowed."
    hint = "Send fewer."


class InstanceNotFound(StillframeError):
    code, status = "instance-not-found", 404
    sentence = "Instance {instance} could not be found."
    hint = "`stillframe server list` shows the instances of this project."


class CaptureNotFound(StillframeError):
    code, status = "capture-not-found", 404
    sentence = "Capture {capture} could not be found."
    hint = "`stillframe capture list` shows the captures of this project."


class ImageNotFound(StillframeError):
    code, status = "image-not-found", 404
    sentence = "No image found with ID {image}"
    hint = "`stillframe image list` shows the images of this project."


class NotFound(StillframeError):
    code, status = "not-found", 404
    sentence = "{what} could not be found."
    hint = "Check the spelling and the id."


class VersionNotSupported(StillframeError):
    code, status = "version-not-supported", 406
    sentence = "Version {version} is not supported by the API. Minimum is {minimum} and maximum is {maximum}."
    hint = "Ask for a microversion between the two, or for `latest`."


class RequestTooLarge(StillframeError):
    code, status = "request-too-large", 413
    sentence = "The request's body is larger than {limit} bytes."
    hint = "Send less at once."


class ImageFailed(StillframeError):
    code, status = "image-failed", 404
    sentence = "No image found with ID {image}: its capture {outcome}."
    hint = "`stillframe capture show {image}` tells how it went."


class TooManyDownloads(StillframeError):
    code, status = "too-many-downloads", 503
    sentence = "{limit} images are being downloaded already, which is the most at once."
    hint = "Wait for one of them to end, or raise [api] threads: half of them may serve downloads."


class WrongState(StillframeError):
    code, status = "wrong-state", 409
    sentence = "Cannot '{action}' instance {instance} while it is in {attribute} {value}"
    hint = "Wait until the instance's state has changed; `stillframe server show {instance}` tells it."


class CaptureEnded(StillframeError):
    code, status = "capture-ended", 409
    sentence = "Capture {capture} has already ended or is being published: it is {state}."
    hint = "Delete the image instead."


# ------------------------------------------------------------------------------------ what stands against a capture


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


# -------------------------------------------------------------------------------------------------- Ceph clusters


class CephUnreachable(StillframeError):
    code, status = "ceph-unreachable", 503
    sentence = "A Ceph cluster did not answer within {seconds:g} seconds."
    hint = "Check that its monitors run and that this host reaches them."
    for_operator = "monitors {monitors}"


class CephRefused(StillframeError):
    code, status = "ceph-refused", 403
    sentence = "A Ceph cluster did not let in the user of this service."
    hint = "Check the user's name and key (ceph auth get), and that the monitors have a quorum."
    for_operator = "client.{user}, monitors {monitors}"


class CephForbidden(StillframeError):
    """`may`: what the user was to do, as in "take snapshots"; `caps`: the OSD capability that would allow it."""

    code, status = "ceph-forbidden", 403
    sentence = "The Ceph user of this service may not {may}."
    hint = "The operator's part has the user, the pool and the command that allows it."
    for_operator = (
        "client.{user} may not {may} in pool {pool}; add it to what the user has (ceph auth get client.{user}):"
        " ceph auth caps client.{user} mon 'profile rbd' osd '..., {caps} pool={pool}'"
    )


class CephFailed(StillframeError):
    code, status = "ceph-failed", 500
    sentence = "The Ceph cluster could not {what}."
    hint = "The operator's part has its own words; `ceph health detail` may tell more."


class CephFull(StillframeError):
    code, status = "ceph-full", 507
    sentence = "The Ceph cluster takes no more data: it, or the pool's quota, is full."
    hint = "Add room or raise the quota (ceph df, ceph osd pool get-quota)."
    for_operator = "pool {pool}"


class WrongCluster(StillframeError):
    code, status = "wrong-cluster", 409
    sentence = "The monitors that lead to a disk or an image belong to another Ceph cluster now."
    hint = "Nothing was touched there. Pools of different clusters have the same names; check the monitors' addresses."
    for_operator = "{what} is expected in {expected}, and was looked for in {found}"


class PoolMissing(StillframeError):
    code, status = "pool-missing", 409
    sentence = "The Ceph cluster does not have a pool that is needed."
    hint = "Create it (ceph osd pool create, rbd pool init), or name another one."
    for_operator = "pool {pool}"


class RbdMissing(StillframeError):
    code, status = "rbd-missing", 409
    sentence = "An image or a snapshot on RBD is not there."
    hint = "It may have been deleted meanwhile; look with rbd ls and rbd snap ls."
    for_operator = "{what}"


class RbdNameTaken(StillframeError):
    code, status = "rbd-name-taken", 409
    sentence = "The name of an image or a snapshot on RBD is taken by another one."
    hint = "Nothing was replaced. Look whose it is with rbd info."
    for_operator = "{what}"


class RbdInUse(StillframeError):
    code, status = "rbd-in-use", 409
    sentence = "An image or a snapshot on RBD cannot be removed: {reason}."
    hint = "It goes once nobody uses it any more."
    for_operator = "{what}"


class BeingGivenBack(StillframeError):
    """No failure: giving something back takes its time, and goes on."""

    code, status = "being-given-back", 409
    sentence = "{how}"
    hint = "Nothing needs to be done."


# ---------------------------------------------------------------------------------------------- Keystone and Glance


class TokenNeeded(NotSignedIn):
    code, status = "token-needed", 401
    sentence = "This request needs a token of Keystone that is valid."
    hint = "Sign in again: tokens expire."


class ProjectNeeded(StillframeError):
    code, status = "project-needed", 403
    sentence = "This token is for no project."
    hint = "Ask Keystone for a token of a project (OS_PROJECT_NAME), not of a domain or the system."


class KeystoneUnreachable(StillframeError):
    code, status = "keystone-unreachable", 503
    sentence = "Keystone does not answer, so nobody can tell whose token this is."
    hint = "Try again; an administrator checks Keystone and [keystone_authtoken]."


class GlanceUnreachable(StillframeError):
    code, status = "glance-unreachable", 503
    sentence = "The image service cannot be reached: {reason}."
    hint = "Check that Glance and Keystone run, [glance] and [service_user]."


class GlanceFailed(StillframeError):
    code, status = "glance-failed", 502
    sentence = "The image service could not {what}: it answered {answer}."
    hint = "Glance's log tells why; the operator's part has its own words."


class ImageForbidden(StillframeError):
    code, status = "image-forbidden", 403
    sentence = "The image service does not allow to {what}: {reason}."
    hint = "Check roles and Glance's policy; what a user may not do there, Stillframe does not do for him."


class ImageQuotaExceeded(StillframeError):
    code, status = "image-quota-exceeded", 403
    sentence = "The image service has no room to {what}: {reason}."
    hint = "Delete images, or have the project's quota or the store's room raised."


class ImageRefused(StillframeError):
    code, status = "image-refused", 400
    sentence = "The image service refused to {what}: {reason}."
    hint = "Correct what it says and capture again."


class ImageNotReserved(StillframeError):
    code, status = "image-not-reserved", 503
    sentence = "The record of image {image} was not made within {seconds:g} seconds."
    hint = "The API process that accepted the capture has ended meanwhile. Capture again."


class ImageDeleted(StillframeError):
    code, status = "image-deleted", 409
    sentence = "Image {image} was deleted while it was being made."
    hint = "Capture again if you did not mean it."


class ImageStuck(StillframeError):
    code, status = "image-stuck", 409
    sentence = "Image {image} takes no data: it is '{state}' {seconds:g} seconds after an upload into it was cut off."
    hint = "It was deleted. Glance gives nobody such an image back, as when it was killed; capture again."


class ImageDiffers(StillframeError):
    code, status = "image-differs", 500
    sentence = "Image {image} is not what was sent: its {algorithm} is {found} instead of {expected}."
    hint = "It was deleted. Check Glance's store before anything else."


class ImageIncomplete(StillframeError):
    code, status = "image-incomplete", 502
    sentence = "Image {image} did not get the last of its data: it is '{state}'."
    hint = "It was deleted. Check Glance and what lies between; then capture again."


class UploadCutOff(StillframeError):
    code, status = "upload-cut-off", 502
    sentence = "The upload of image {image} was cut off at byte {offset} of {size}: {reason}."
    hint = "Check Glance and what lies between, such as a balancer's time limits; then capture again."


# ----------------------------------------------------------------------------------------------------- the service


class ControllerUnreachable(StillframeError):
    code, status = "controller-unreachable", 503
    sentence = "No controller could be asked: {reason}."
    hint = "Check RabbitMQ, [messaging] transport_url, and that a stillframe-controller runs."


class ConfigInvalid(StillframeError):
    code, status = "config-invalid", 500
    sentence = "The configuration cannot be used: {reason}"
    hint = "`stillframe config sample` prints every option with its default."


class StateDirectoryInUse(StillframeError):
    code, status = "state-directory-in-use", 500
    sentence = "The state directory {path} is used by another Stillframe, process {pid}."
    hint = "Stop that one first, or give this one a state_dir of its own."


class AddressInUse(StillframeError):
    code, status = "address-in-use", 500
    sentence = "The API cannot listen on {address}: {reason}."
    hint = "Stop what listens there, or choose another address in [api]."


class StoreUnusable(StillframeError):
    code, status = "store-unusable", 503
    sentence = "The image store {store} cannot be used: {reason}."
    hint = "Check that the directory exists and that Stillframe may write there."


class ImageExists(StillframeError):
    code, status = "image-exists", 409
    sentence = "Image {image} is already in the image store, and it is not this one."
    hint = "Nothing was replaced. Capture again under a new id."


class ImageInUse(StillframeError):
    code, status = "image-in-use", 409
    sentence = (
        "Image {image} cannot be deleted: {count} that depend on it were cloned from it, such as disks of servers."
    )
    hint = "Delete those first, or have them flattened (rbd flatten); an administrator finds them with rbd children."


class ImageElsewhere(StillframeError):
    code, status = "image-elsewhere", 409
    sentence = "Image {image} has no file here: its bytes are on Ceph."
    hint = "Boot servers from it, or have an administrator export it there (rbd export); its record tells the location."


class DatabaseUnusable(StillframeError):
    code, status = "database-unusable", 503
    sentence = "The database cannot be used: {reason}."
    hint = "Check that it runs, that its disk has room, and that this release is not older than its schema."


class PublicationUnknown(StillframeError):
    code, status = "publication-unknown", 500
    sentence = "Whether the image was published cannot be told: {reason}."
    hint = "Look at the image; if it is not there or not whole, delete it and capture again."


class JournalFailed(StillframeError):
    code, status = "journal-failed", 507
    sentence = "The agent's journal could not be used ({what}), and without it nothing is begun."
    hint = "Check the space and the health of the state directory's filesystem."


class GuardUnavailable(StillframeError):
    code, status = "guard-unavailable", 503
    sentence = "The guard, which would give the guest back if the agent died, does not answer."
    hint = "Nothing was done to the guest. The log tells why the guard could not be started."


# ------------------------------------------------------------------------------- what a client finds out by itself


class ServiceUnreachable(StillframeError):
    code, status = "service-unreachable", 503
    sentence = "Stillframe cannot be reached at {where}: {reason}."
    hint = "Start it with `stillframe up`, or name another by --socket, STILLFRAME_SOCKET or --os-cloud."


class SocketForbidden(StillframeError):
    code, status = "socket-forbidden", 403
    sentence = "The socket {where} may not be used by this user."
    hint = "Become root, or join the group that [api] socket_group names."


class UnexpectedAnswer(StillframeError):
    code, status = "unexpected-answer", 502
    sentence = "{where} answers like no Stillframe: {reason}."
    hint = "Check the address; something else may be listening there."


class NameAmbiguous(StillframeError):
    code, status = "name-ambiguous", 400
    sentence = "More than one {what} has the name {name}: {ids}."
    hint = "Give one of these ids instead of the name."


class ImageNotSaved(StillframeError):
    code, status = "image-not-saved", 507
    sentence = "Image {image} was not saved as {path}: {reason}."
    hint = "Nothing was left behind. Put right what it says and save it again."


class CaptureStillRunning(StillframeError):
    code, status = "still-running", 504
    sentence = "Capture {capture} has not ended within {seconds:g} seconds; it goes on."
    hint = "`stillframe capture watch {capture}` waits on, `stillframe capture cancel {capture}` ends it."


# ----------------------------------------------------------------------------------------------- faults from outside


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


# ---------------------------------------------------------------------------------------------------- beside Nova


class NovaUnreachable(StillframeError):
    code, status = "nova-unreachable", 502
    sentence = "Nova cannot be reached: {reason}."
    hint = "Check that Nova's API runs, and where [nova] and the catalogue say that it is."


class NovaSilent(StillframeError):
    code, status = "nova-silent", 504
    sentence = "Nova has not answered within {seconds:g} seconds."
    hint = "What was asked for may still be done. [nova] timeout is how long its answers are waited for."


class NovaIsHere(StillframeError):
    code, status = "nova-is-here", 508
    sentence = "What was to be passed on to Nova has come back to Stillframe."
    hint = "Set [nova] endpoint_override to Nova's own URL: the catalogue's leads here."


class NovaFailed(StillframeError):
    code, status = "nova-failed", 502
    sentence = "Nova could not {what}: it answered {answer}."
    hint = "Nova's log tells more; the operator's part has its words."


class NovaForbids(StillframeError):
    code, status = "nova-forbids", 502
    sentence = "Nova does not let Stillframe {what}."
    hint = "The user of [service_user] needs a role that Nova's policy accepts: see the guide for a cloud."


class NovaInterferes(StillframeError):
    code, status = "nova-interferes", 409
    sentence = "The capture was given up, since Nova began something else with instance {instance}: {task}."
    hint = "Capture it again when Nova has finished."


class LockNotMade(StillframeError):
    code, status = "lock-not-made", 503
    sentence = (
        "Nova's server {instance} was not locked within {seconds:g} seconds: the API process that was to do so died."
    )
    hint = "Capture it again."


# ------------------------------------------------------------------------------------- locations of images in Glance


class LocationRefused(StillframeError):
    code, status = "location-refused", 409
    sentence = "Glance does not take the location of image {image}: {reason}."
    hint = (
        "The controller's [service_user] needs the role service (or Glance show_multiple_locations), and the user of"
        " Glance's store the right to read the pool."
    )


class NoStoreInGlance(StillframeError):
    code, status = "no-store-in-glance", 409
    sentence = "Glance has no store in the image's Ceph pool."
    hint = "Give it one (type rbd, with that pool), or have images go to another pool: [ceph] target_pool, store_pool."
    for_operator = "pool {pool} of cluster {fsid}; on RBD Glance has {stores}"


class ImagesInGlance(StillframeError):
    code, status = "images-in-glance", 404
    sentence = "Images are in Glance, and not served here."
    hint = "Ask Glance, as one of its users: `stillframe --os-cloud CLOUD image list`, or `openstack image list`."


# -------------------------------------------------------------------------------------------------------- Cinder


class CinderUnreachable(StillframeError):
    code, status = "cinder-unreachable", 503
    sentence = "The volume service cannot be reached: {reason}."
    hint = "Check that Cinder and Keystone run, [cinder] and [service_user]."


class CinderFailed(StillframeError):
    code, status = "cinder-failed", 502
    sentence = "The volume service could not {what}: it answered {answer}."
    hint = "Cinder's log tells why; the operator's part has its own words."


class VolumeForbidden(StillframeError):
    code, status = "volume-forbidden", 403
    sentence = "The volume service does not allow to {what}: {reason}."
    hint = "Check roles and Cinder's policy; what a user may not do there, Stillframe does not do for him."


class VolumeQuotaExceeded(StillframeError):
    code, status = "volume-quota-exceeded", 403
    sentence = "The volume service has no room to {what}: {reason}."
    hint = "Delete snapshots or volumes, or have the project's quota raised."


class VolumeRefused(StillframeError):
    code, status = "volume-refused", 409
    sentence = "The volume service refused to {what}: {reason}."
    hint = "Correct what it says and capture again."


class SnapshotFailed(StillframeError):
    code, status = "snapshot-failed", 500
    sentence = "Snapshot {snapshot} of volume {volume} was not taken: it is '{state}'."
    hint = "The log of the volume service (cinder-volume) tells why. The snapshots of the other volumes were removed."


class SnapshotsLate(StillframeError):
    code, status = "snapshots-late", 409
    sentence = "The snapshots were taken for an attempt at the capture that has ended meanwhile."
    hint = "They were removed. Capture again."


class VolumesInMotion(StillframeError):
    code, status = "volumes-in-motion", 409
    sentence = "The volumes of instance {instance} would not be of one instant: {reason}."
    hint = "Check the guest agent; or set [capture] pause_for_volumes to pause guests that cannot be frozen."
