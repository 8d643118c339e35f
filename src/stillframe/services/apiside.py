"""The parts of an API: the application over the records, and its health."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from wsgiref.types import WSGIApplication

from stillframe.api.app import application
from stillframe.api.coordination import Coordination
from stillframe.api.deps import Check, Deps, Health, VolumeTools
from stillframe.config import Settings
from stillframe.controller.captures import Captures
from stillframe.controller.database import Database
from stillframe.controller.hosts import Hosts
from stillframe.controller.servers import Servers
from stillframe.controller.volumesets import VolumeSets
from stillframe.errors.base import StillframeError, fault_of
from stillframe.images.directory import DirectoryStore
from stillframe.images.glance import Access
from stillframe.messaging.contract import AgentApi
from stillframe.nova.access import Access as NovaAccess
from stillframe.nova.relay import Relay
from stillframe.nova.servers import NovaServers
from stillframe.volumes.access import Access as CinderAccess


def application_over(
    settings: Settings,
    db: Database,
    agents: AgentApi,
    images: DirectoryStore | Access,
    health: Health,
    *,
    strays: Callable[[], int] = int,
) -> WSGIApplication:
    """The API, over a directory of images or the way to Glance.

    `strays` counts what `agent doctor` would find, where API and agent are one process.
    """
    store, glance = (None, images) if isinstance(images, Access) else (images, None)
    deps = Deps(
        settings,
        Servers(db),
        Captures(db, agents),
        Hosts(db),
        store,
        health,
        strays,
        glance=glance,
        volumes=VolumeTools(CinderAccess(settings), VolumeSets(db)) if glance else None,
        coordination=_coordination(settings),
        relay=_relay(settings),
    )
    return application(deps)


def _coordination(settings: Settings) -> Coordination | None:
    """With Nova, where [nova] coordinate says so."""
    if not settings.nova.coordinate:
        return None
    return Coordination(NovaServers(NovaAccess(settings)), settings.nova.when_away)


def _relay(settings: Settings) -> Relay | None:
    """To Nova, where [nova] pass_through says so."""
    if not settings.nova.pass_through:
        return None
    nova = NovaAccess(settings)
    return Relay(nova.root, nova.tls(), settings.nova.timeout)


def checked(name: str, check: Callable[[], object]) -> Check:
    """The outcome of a check that raises what is wrong."""
    try:
        check()
    except StillframeError as error:
        return Check(name, fault_of(error))
    return Check(name)


def health(db: Database, images: DirectoryStore | Access) -> Sequence[Check]:
    """What the API itself stands on; a broker that is away only delays what it accepts."""
    known = checked("database", Hosts(db).list)
    return (known,) if isinstance(images, Access) else (known, checked("images", images.check))
