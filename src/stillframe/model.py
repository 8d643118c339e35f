"""What everything talks about: plain, typed, frozen records.

Sizes are bytes, times are aware UTC datetimes, durations are seconds unless a name says otherwise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum, StrEnum

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def now() -> datetime:
    """The wall clock's time, aware, in UTC. Deadlines use time.monotonic() instead."""
    return datetime.now(UTC)


# ----------------------------------------------------------------------------------------------------- instances


class PowerState(IntEnum):
    """Nova's numbers (nova.compute.power_state)."""

    NOSTATE = 0
    RUNNING = 1
    PAUSED = 3
    SHUTDOWN = 4
    CRASHED = 6
    SUSPENDED = 7


class VmState(StrEnum):
    """Nova's vm_state, as far as a hypervisor can tell it."""

    ACTIVE = "active"
    STOPPED = "stopped"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    ERROR = "error"


class TaskState(StrEnum):
    """Nova's task_state of an instance that is being captured; None otherwise."""

    IMAGE_SNAPSHOT_PENDING = "image_snapshot_pending"
    IMAGE_SNAPSHOT = "image_snapshot"
    IMAGE_PENDING_UPLOAD = "image_pending_upload"
    IMAGE_UPLOADING = "image_uploading"
    IMAGE_BACKUP = "image_backup"


class DiskKind(StrEnum):
    """Where a disk's bytes are (libvirt's disk type)."""

    FILE = "file"
    BLOCK = "block"
    NETWORK = "network"


@dataclass(frozen=True, slots=True)
class RbdPlace:
    """An image on RBD, and as whom its cluster is reached. No key is in it: that stays where `secret` leads."""

    pool: str
    image: str
    monitors: tuple[str, ...] = ()  # host or host:port; none: left to `conf`
    user: str | None = None  # without "client."
    secret: str | None = None  # UUID of libvirt's secret
    conf: str | None = None  # a ceph.conf
    snap: str | None = None  # a snapshot of the image; None: the image itself

    def __str__(self) -> str:
        return f"{self.pool}/{self.image}{f'@{self.snap}' if self.snap else ''}"


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a disk's chain, as its definition names it; the format is stated there, never guessed."""

    path: str  # a file, a device, or for network disks "protocol:name"
    format: str
    kind: DiskKind = DiskKind.FILE
    rbd: RbdPlace | None = None  # a network disk on RBD that we can reach too


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk of an instance, as the domain XML describes it."""

    target: str  # the guest's device name: vda
    chain: tuple[Layer, ...]  # topmost first; the part below it may be unknown until the disk is inspected
    size: int = 0  # what the guest sees; 0 when it cannot be told
    serial: str | None = None
    read_only: bool = False
    error_policy: str | None = None  # libvirt's: stop, report, ignore, enospace
    encryption: str | None = None  # what encrypts it, in words: "LUKS", "dm-crypt (/dev/mapper/x)"
    bus: str | None = None  # virtio, scsi, ...

    @property
    def top(self) -> Layer:
        """The layer that the guest writes to."""
        return self.chain[0]


@dataclass(frozen=True, slots=True)
class Instance:
    """A virtual machine; the API calls it a server."""

    id: str
    name: str  # the display name: Nova's where its metadata is present, else the domain's
    domain: str  # libvirt's name
    vm_state: VmState
    power_state: PowerState
    disks: tuple[Disk, ...] = ()
    root: str | None = None  # target of the root disk
    run: str | None = None  # identifies this run of the domain; None when it does not run
    vcpus: int = 1
    memory_mib: int = 0
    flavor: str | None = None  # Nova's flavor name
    project_id: str | None = None
    user_id: str | None = None
    base_image_id: str | None = None
    persistent: bool = True

    def disk(self, target: str) -> Disk | None:
        """The disk of this target, or None."""
        return next((disk for disk in self.disks if disk.target == target), None)

    @property
    def volumes(self) -> dict[str, Disk]:
        """The disks that are Cinder's volumes, by the volumes' ids, the root disk first.

        Nova writes a volume's id as its disk's serial; in a domain that Nova did not make a serial means nothing.
        """
        if self.flavor is None:
            return {}
        disks = sorted(self.disks, key=lambda disk: disk.target != self.root)
        return {disk.serial: disk for disk in disks if disk.serial and UUID.fullmatch(disk.serial)}

    @property
    def root_volume(self) -> str | None:
        """The volume that the root disk is; None when the instance does not boot from one."""
        return next((volume for volume, disk in self.volumes.items() if disk.target == self.root), None)


# ------------------------------------------------------------------------------------------------------ captures


class CaptureStatus(StrEnum):
    """Where a capture stands. The last three are final."""

    PENDING = "pending"  # accepted, no agent has begun
    RUNNING = "running"
    PUBLISHING = "publishing"  # commit was won: nothing but the publication is left
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """True once nothing can change any more."""
        return self in (CaptureStatus.COMPLETED, CaptureStatus.FAILED, CaptureStatus.CANCELLED)


class Phase(StrEnum):
    """How far the agent is; the controller derives the task_state from it."""

    WAITING = "waiting"  # in the host's queue, no instant yet
    HOLDING = "holding"  # the source is being taken
    HELD = "held"  # the instant is fixed, the guest is as it was
    TRANSFERRING = "transferring"
    PUBLISHING = "publishing"
    ENDED = "ended"


class Consistency(StrEnum):
    """What state of the filesystems the image holds (`stillframe_consistency`)."""

    FILESYSTEM = "filesystem"
    CRASH = "crash"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class Fault:
    """A failure as it travels: through messages, records, API, log and CLI. See errors/base.py."""

    code: str
    message: str  # public: one sentence with the values
    hint: str = ""  # public: what to do
    operator: str = ""  # pools, paths, hosts: for administrators only
    status: int = 500


@dataclass(frozen=True, slots=True)
class Step:
    """A named part of a capture: an entry of its timeline."""

    name: str
    started_at: datetime
    ended_at: datetime | None = None
    message: str = ""
    bytes: int | None = None
    failed: bool = False
    operator: str = ""  # as a fault's: for administrators only


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the bytes are."""

    done: int = 0
    total: int = 0
    rate: float = 0.0  # bytes a second, lately

    @property
    def seconds_left(self) -> float | None:
        """None while the rate or the total is unknown."""
        return max(0, self.total - self.done) / self.rate if self.rate > 0 and self.total else None


@dataclass(frozen=True, slots=True)
class Instant:
    """The moment whose state the image holds."""

    captured_at: datetime
    consistency: Consistency
    frozen_ms: float | None = None  # how long filesystems were frozen; None: they were not
    stopped_ms: float | None = None  # how long the guest's processors stood still; None: they did not


@dataclass(frozen=True, slots=True)
class Way:
    """The source and the transfer that were chosen, and why the cheaper ones were not."""

    source: str
    transfer: str
    refused: tuple[str, ...] = ()  # "reflink+clone: /var/... is on ext4, which cannot share blocks"


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a capture is to be done, where the one who asks may choose."""

    disk_format: str | None = None  # raw, qcow2; None: the source's
    require_quiesce: bool = False  # os_require_quiesce
    trim: bool = False  # fstrim in the guest before the freeze
    cold: bool = False  # pause a running guest for the whole copy
    bandwidth: int = 0  # bytes a second; 0: no limit but the host's
    volumes: bool = False  # an image without data that names snapshots of Cinder's volumes


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """One image that a capture is to make of one disk."""

    id: str
    name: str
    target: str | None = None  # None: the root disk
    properties: dict[str, str] = field(default_factory=dict)
    note: str = ""  # to be said on the timeline
    stores: tuple[str, ...] = ()  # names of Glance's stores that it is to go to; none: as the options say
    place: RbdPlace | None = None  # where Cinder says that the disk is; for a definition that names no monitors


@dataclass(frozen=True, slots=True)
class ImageResult:
    """What became of one requested image."""

    id: str
    disk_format: str
    size: int  # of the image's file
    virtual_size: int  # of the disk inside
    sha256: str | None = None  # None where no byte moved
    hashes: dict[str, str] = field(default_factory=dict)  # by other algorithms, as hashlib names them
    properties: dict[str, str] = field(default_factory=dict)
    location: str | None = None  # where the bytes are, when they are not in the store itself
    place: RbdPlace | None = None  # the same, with the way there
    parent: RbdPlace | None = None  # the snapshot that it stays tied to


@dataclass(frozen=True, slots=True)
class Image:
    """An image as a store lists it."""

    id: str
    name: str
    status: str  # Glance's: queued, saving, active
    created_at: datetime
    updated_at: datetime
    owner: str | None = None
    disk_format: str | None = None
    container_format: str | None = None
    size: int | None = None
    virtual_size: int | None = None
    sha256: str | None = None
    hashes: dict[str, str] = field(default_factory=dict)  # by other algorithms
    min_disk: int = 0  # GiB
    min_ram: int = 0  # MiB
    visibility: str = "private"
    captured_at: datetime | None = None  # the instant that it holds
    properties: dict[str, str] = field(default_factory=dict)
    location: str | None = None  # rbd://FSID/POOL/IMAGE/SNAP: the bytes are there, and none in the store itself
    place: RbdPlace | None = None  # the same, with the way there
    parent: RbdPlace | None = None  # the snapshot of the instance's disk that it stays tied to


@dataclass(frozen=True, slots=True)
class Ticket:
    """How an image's data are to be sent to Glance, once its record is `queued`."""

    state: str  # of the record, in Glance's words
    algorithm: str  # of the hash that Glance will have taken
    backend: str | None = None  # the store that they go to; None: Glance's default


@dataclass(frozen=True, slots=True)
class Host:
    """A hypervisor host and the agent on it."""

    name: str
    agent_run: str  # identifies one run of the agent process
    last_seen: datetime


# ------------------------------------------------------------------------------------- what the controller records


@dataclass(frozen=True, slots=True)
class Server:
    """An instance as the controller knows it."""

    instance: Instance
    host: str
    created_at: datetime
    updated_at: datetime
    task_state: TaskState | None = None
    capture_id: str | None = None  # the capture that holds the task_state


@dataclass(frozen=True, slots=True)
class Capture:
    """One saving of an instance, identified by the id of its (first) image."""

    id: str
    instance_id: str
    name: str
    status: CaptureStatus
    created_at: datetime
    request_id: str
    host: str
    images: tuple[ImageRequest, ...]
    wishes: Wishes
    kind: str = "snapshot"  # image_type: snapshot or backup
    backup_type: str | None = None
    rotation: int | None = None
    project_id: str | None = None  # of the instance; None: the administrator's
    user_id: str | None = None  # who asked
    attempt: int = 0
    phase: Phase = Phase.WAITING
    started_at: datetime | None = None
    ended_at: datetime | None = None
    way: Way | None = None
    instant: Instant | None = None
    progress: Progress = field(default_factory=Progress)
    steps: tuple[Step, ...] = ()
    results: tuple[ImageResult, ...] = ()
    fault: Fault | None = None
    held: tuple[str, ...] = ()  # leases still to be given back, in words
    cancel: Fault | None = None  # why it was told to stop; it goes on until the agent has given everything back
    updated_at: datetime | None = None
