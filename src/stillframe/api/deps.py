"""What the API stands on, handed to it once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from stillframe.api.coordination import Coordination
from stillframe.config import Settings
from stillframe.controller.captures import Captures
from stillframe.controller.hosts import Hosts
from stillframe.controller.servers import Servers
from stillframe.controller.volumesets import VolumeSets
from stillframe.images.directory import DirectoryStore
from stillframe.images.glance import Access
from stillframe.model import Fault
from stillframe.nova.relay import Relay
from stillframe.volumes.access import Access as CinderAccess


@dataclass(frozen=True, slots=True)
class Check:
    """A part of the service, and what is wrong with it."""

    name: str
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class VolumeTools:
    """What captures of volumes need besides."""

    cinder: CinderAccess
    sets: VolumeSets


Health = Callable[[], Sequence[Check]]


@dataclass(frozen=True, slots=True)
class Deps:
    """Made by the composition; the API owns nothing of it."""

    settings: Settings
    servers: Servers
    captures: Captures
    hosts: Hosts
    store: DirectoryStore | None  # None: images go to Glance
    health: Health
    strays: Callable[[], int]  # things on this host that no capture owns; raises StillframeError
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    glance: Access | None = None
    coordination: Coordination | None = None
    relay: Relay | None = None  # to Nova, where what is not ours is passed on
    volumes: VolumeTools | None = None  # None: images do not go to Glance
