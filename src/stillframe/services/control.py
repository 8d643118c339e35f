"""The parts of a controller: the database, what ends without anybody asking, who is told of it."""

from __future__ import annotations

import logging
from contextlib import ExitStack

from stillframe.config import IN_GLANCE, Settings
from stillframe.controller.database import Database
from stillframe.controller.imagedesk import ImageDesk
from stillframe.controller.novalocks import NovaLocks, NovaWatch
from stillframe.controller.outbox import Outbox
from stillframe.controller.reconcile import Reconciler
from stillframe.controller.reservations import Reservations
from stillframe.controller.rotation import Rotation
from stillframe.errors.request import ImageNotFound
from stillframe.errors.service import ConfigInvalid, ImageInUse
from stillframe.images.directory import DirectoryStore
from stillframe.images.glance import Access
from stillframe.images.locations import backends
from stillframe.messaging.contract import AgentApi
from stillframe.messaging.notices import Logged, Notifier, Silent
from stillframe.model import now
from stillframe.nova.access import Access as NovaAccess
from stillframe.nova.servers import NovaServers
from stillframe.services import process

LOG = logging.getLogger(__name__)
TELL = 1.0  # seconds until an event of a capture is told
LOOK = 2.0  # seconds between two looks at records of images: one that is deleted ends its capture
UNLOCK = 1.0  # seconds between two looks at locks in Nova: who waits for an image wants to use its server next
WATCH = 2.0  # seconds between two looks at what Nova does with servers that are captured
RECONCILE = 5.0  # seconds between two looks at what ends without anybody asking


def database(settings: Settings, stack: ExitStack) -> Database:
    """The database, brought to this release's schema."""
    db = Database(settings.database.connection)
    stack.callback(db.close)
    db.upgrade()
    return db


def shared_database(settings: Settings, stack: ExitStack) -> Database:
    """The database of all apis and controllers; the default is one of this service alone: raises ConfigInvalid."""
    if settings.oslo.database.connection is None:
        raise ConfigInvalid(reason="[database] connection is not set, and apis and controllers need the same one")
    return database(settings, stack)


def images(settings: Settings) -> DirectoryStore | Access:
    """The directory of images, made, or the way to Glance: by [images] store."""
    if settings.images.store == IN_GLANCE:
        return Access(settings)
    store = DirectoryStore(settings.images.directory)
    store.prepare()
    return store


def desk(settings: Settings, db: Database, access: Access) -> ImageDesk:
    """Images in Glance, as [service_user]."""
    return ImageDesk(db, access.as_service(), backends(None, settings.glance.backends))


def begin_looking(stack: ExitStack, reservations: Reservations) -> None:
    """What a controller does about records of images."""
    process.every(stack, LOOK, "reservations", lambda: reservations.run_once(now()))


def begin_coordination(settings: Settings, stack: ExitStack, db: Database, agents: AgentApi) -> None:
    """What a controller does about Nova, where [nova] coordinate says so."""
    if not settings.nova.coordinate:
        return
    nova = NovaServers(NovaAccess(settings))
    locks, watch = NovaLocks(db, nova), NovaWatch(db, nova, agents)
    process.every(stack, UNLOCK, "Nova's locks", lambda: locks.run_once(now()))
    process.every(stack, WATCH, "Nova's servers", lambda: watch.run_once(now()))


def begin_chores(stack: ExitStack, reconciler: Reconciler, rotation: Rotation, outbox: Outbox) -> None:
    """What a controller does every few seconds; one that is held up holds up no other."""
    process.every(stack, RECONCILE, "reconcile", lambda: reconciler.run_once(now()))
    process.every(stack, RECONCILE, "rotation", rotation.run_once)
    process.every(stack, TELL, "notifications", outbox.run_once)


def notifier(settings: Settings, stack: ExitStack) -> Notifier:
    """Who tells of captures, by [notifications] driver."""
    if settings.notifications.driver == "noop":
        return Silent()
    if settings.notifications.driver == "log":
        return Logged()
    from stillframe.messaging.notifying import Notifying  # noqa: PLC0415 - half a second and 30 MiB of libraries

    made = Notifying(settings.notifications, settings.oslo)
    stack.callback(made.close)
    return made


class DirectoryShelf:
    """The directory store as rotation sees it."""

    def __init__(self, store: DirectoryStore) -> None:
        self._store = store

    def exists(self, image_id: str) -> bool:
        try:
            self._store.get(image_id)
        except ImageNotFound:
            return False
        return True

    def delete(self, image_id: str) -> None:
        if not self.exists(image_id):
            return
        try:
            self._store.delete(image_id)
        except ImageInUse as error:
            LOG.warning("a backup is kept that would have been deleted: %s", error)
