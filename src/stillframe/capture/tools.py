"""What a capture works with on its host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stillframe.capture.flattening import Flattening
from stillframe.capture.guarding import Guard
from stillframe.capture.stillness import Stillness
from stillframe.config import Capture as CaptureOptions
from stillframe.disks.ceph import Ceph
from stillframe.hypervisor.connection import Connection
from stillframe.images.directory import DirectoryStore
from stillframe.images.glancestore import GlanceStore

Store = DirectoryStore | GlanceStore


@dataclass(frozen=True, slots=True)
class Tools:
    """The host's hypervisor, guard, image store, Ceph clusters and directories."""

    hypervisor: Connection
    guard: Guard
    store: Store
    options: CaptureOptions
    stillness: Stillness
    ceph: Ceph
    flattening: Flattening
    run_dir: Path  # short-lived sockets live below it, each in a directory of its own

    @property
    def directory(self) -> DirectoryStore:
        """The store, where the planner has made sure that it is a directory."""
        assert isinstance(self.store, DirectoryStore)  # noqa: S101
        return self.store

    @property
    def glance(self) -> GlanceStore:
        """The store, where the planner has made sure that it is Glance."""
        assert isinstance(self.store, GlanceStore)  # noqa: S101
        return self.store
