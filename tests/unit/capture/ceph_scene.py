"""A host with clusters that are only told of, for tests of what is decided about them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

from stillframe import config
from stillframe.capture.subject import Subject, Wanted
from stillframe.capture.tools import Tools
from stillframe.disks.ceph import OnRbd
from stillframe.disks.rbd.cluster import Cluster
from stillframe.disks.rbd.names import RbdImage
from stillframe.errors.base import StillframeError
from stillframe.images.directory import DirectoryStore
from stillframe.images.glancestore import GlanceStore
from stillframe.model import (
    Disk,
    DiskKind,
    ImageRequest,
    Instance,
    Layer,
    PowerState,
    RbdPlace,
    VmState,
)

WEST, EAST = "0f5c0a1e-0000-4000-8000-000000000001", "0f5c0a1e-0000-4000-8000-000000000002"
IMAGE = "6c1f8c0a-2e5d-4a55-8f0b-2a1c3d4e5f60"
PLACE = RbdPlace("vms", "disk", ("10.0.0.1:6789",), "nova", "457eb676-33da-42ec-9a8c-9293d545c337")


@dataclass
class Clusters:
    """disks.ceph.Ceph, without any cluster behind it."""

    options: config.Ceph
    fsid: str = WEST
    store_fsid: str = WEST
    error: StillframeError | None = None

    def at(self, place: RbdPlace, fsid: str | None = None) -> OnRbd:
        if self.error:
            raise self.error
        return self._on(self.fsid, place)

    def store(self, image: str) -> tuple[OnRbd, RbdPlace] | None:
        if self.options.store_cluster is None:
            return None
        place = RbdPlace(self.options.store_pool, image)
        return self._on(self.store_fsid, place), place

    def _on(self, fsid: str, place: RbdPlace) -> OnRbd:
        cluster: Any = SimpleNamespace(fsid=fsid, call=lambda *_: False)  # no pool of it is full
        return OnRbd(cast("Cluster", cluster), RbdImage(fsid, place.pool, place.image), place.snap or "")


@dataclass
class Scene:
    """What a plan is made from."""

    options: config.Ceph = field(default_factory=lambda: config.load(files=[]).ceph)
    locations: bool = True
    fsid: str = WEST
    store_fsid: str = WEST
    error: StillframeError | None = None

    def tools(self, store: DirectoryStore | GlanceStore) -> Tools:
        made: Any = SimpleNamespace(
            ceph=Clusters(self.options, self.fsid, self.store_fsid, self.error),
            store=store,
            directory=store,
            options=config.load(files=[]).capture,
        )
        return cast("Tools", made)


def on_rbd(**changes: Any) -> Disk:
    """A disk on RBD."""
    return replace(Disk("vda", (Layer("rbd:vms/disk", "raw", DiskKind.NETWORK, PLACE),), size=1 << 30), **changes)


def subject(disk: Disk, *, live: bool = True, disk_format: str = "raw", wished: bool = False) -> Subject:
    """A capture of an instance with this disk."""
    state = (VmState.ACTIVE, PowerState.RUNNING) if live else (VmState.STOPPED, PowerState.SHUTDOWN)
    instance = Instance("i", "n", "d", *state, disks=(disk,), root=disk.target, run="1" if live else None)
    wanted = Wanted(disk, ImageRequest(IMAGE, "image"), disk_format, wished)
    return Subject(IMAGE, instance, (wanted,), require_quiesce=False, trim=False, cold=False, bandwidth=0)
