"""The columns of the matrix: how a capture is made while something goes wrong. A new pair joins by its line here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.faulty import Action, Fault

SLOWLY = 1 << 20  # bytes a second: time enough to cancel a capture, or to lose its host
LONG = 16.0  # seconds that a heartbeat hangs until its host counts as lost: looked for every 5, twice at least


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """One pair, the guest that it is for, and what is wished of it.

    `first` goes wrong before the cell's own fault, which counts from the point `since` on. `only`: what those
    points begin with that are tried by default, where another way tries the same code at the others. `ceph`: the
    service's options of that group.
    """

    pair: str
    guest: str  # of the lane
    wishes: Mapping[str, Any] = field(default_factory=dict)
    turn: str = ""  # what else happens, in a word
    first: Fault | None = None
    cancelled: bool = False
    ends: str = "completed"  # without the cell's own fault
    since: str = ""
    only: tuple[str, ...] = ()
    ceph: Mapping[str, object] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As in a cell's name and at the head of its column."""
        return f"{self.pair}:{self.turn or self.guest}"

    @property
    def running(self) -> bool:
        """Whether the guest's processors run."""
        return self.guest in RUNNING

    @property
    def on_ceph(self) -> bool:
        """Whether anything of it may be left in a pool."""
        return self.guest == ON_RBD or bool(self.ceph)


ON_RBD = "on-rbd"
RUNNING = ("running", "sharing", ON_RBD)  # on a filesystem without shared blocks, with them, and on Ceph
STOPPED = ("stopped", "stopped-sharing")
TRIMMED = {"trim": True}
AS_QCOW2 = {"format": "qcow2"}  # other than the disk's own format, so that it cannot be cloned

OF_SHARING = ("lease.SuspendedGuest", "lease.FrozenGuest", "lease.OwnFile", "lease.HalfImage", "step", "image")
OF_CLONE = ("lease.DiskSnapshot", "lease.HalfRbdImage", "lease.ParentLink", "rbd", "step.clone")
IMPORTING = {"store_cluster": "lab", "clusters": "lab", "convert_ceph_raw_for_qcow2": True, "verify": "read-back"}
OF_EXPORT = ("lease.Export", "lease.SocketDirectory", "step.map", "step.transfer", "bytes")

WAYS: tuple[Way, ...] = (
    Way("backup+directory", "running", TRIMMED),
    Way("reflink+clone", "sharing", only=OF_SHARING),
    Way("reflink+directory", "sharing", AS_QCOW2, only=OF_EXPORT),
    Way("cold+directory", "running", {"cold": True}, only=("lease.SuspendedGuest", "lease.Export", "bytes")),
    Way("offline+clone", "stopped-sharing", only=("lease", "step", "image")),
    Way("offline+directory", "stopped-sharing", AS_QCOW2, only=("lease.OwnFile", "bytes")),
    Way("offline+directory", "stopped", only=OF_EXPORT),
    Way(
        "backup+directory", "running", {"bandwidth": SLOWLY}, "cancelled",
        cancelled=True, ends="cancelled", since="record.cancel.before", only=("record", "lease", "journal"),
    ),
    Way(
        "backup+directory", "running", turn="restarted",
        first=Fault("bytes.read", Action.KILL), since="call.begin.before", only=("step.resume", "bytes"),
    ),
    Way(
        "backup+directory", "running", {"bandwidth": SLOWLY // 8}, "lost",
        first=Fault("call.heartbeat.before", Action.HANG, since="step.transfer.entered", seconds=LONG),
        ends="failed", since="record.fail.before", only=("record.fail",),
    ),
    Way("snapshot+clone", ON_RBD, only=(*OF_CLONE, "lease.FrozenGuest", "image", "step.publish")),
    Way(
        "snapshot+clone", ON_RBD, turn="flat", only=("step.flatten", "step.md5", "lease.ParentLink"),
        ceph={"flatten": "now", "enable_verify_image_md5sum": True},
    ),
    Way("snapshot+directory", ON_RBD, AS_QCOW2, only=("lease.DiskSnapshot", "bytes")),
    Way("backup+import", "running", only=("lease.HalfRbdImage", "step.import", "step.verify", "bytes"), ceph=IMPORTING),
)  # fmt: skip

# What the points begin with that only captures into Glance, and of Cinder's volumes, come to, which lanes do not have:
# tests/cloud breaks those.
ELSEWHERE = ("step.upload", "step.record", "call.stand_still", "record.stand_still")


def named(name: str) -> Way:
    """The way of this name; raises KeyError."""
    return {way.name: way for way in WAYS}[name]
