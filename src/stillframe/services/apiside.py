"""The parts of an API: the application over the records, and its health."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stillframe.api.app import App, application
from stillframe.api.deps import Check, Deps, Health
from stillframe.config import Settings
from stillframe.controller.captures import Captures
from stillframe.controller.database import Database
from stillframe.controller.hosts import Hosts
from stillframe.controller.servers import Servers
from stillframe.errors import StillframeError, fault_of
from stillframe.images.directory import DirectoryStore
from stillframe.messaging.contract import AgentApi


def application_over(
    settings: Settings,
    db: Database,
    agents: AgentApi,
    store: DirectoryStore,
    health: Health,
    *,
    strays: Callable[[], int] = int,
) -> App:
    """The API; `strays` counts what `agent doctor` would find, where API and agent are one process."""
    return application(Deps(settings, Servers(db), Captures(db, agents), Hosts(db), store, health, strays))


def checked(name: str, check: Callable[[], object]) -> Check:
    """The outcome of a check that raises what is wrong."""
    try:
        check()
    except StillframeError as error:
        return Check(name, fault_of(error))
    return Check(name)


def health(db: Database, store: DirectoryStore) -> Sequence[Check]:
    """What the API itself stands on; a broker that is away only delays what it accepts."""
    return checked("database", Hosts(db).list), checked("images", store.check)
