"""stillframe-controller: answers agents, and ends what nobody wants any more. Any number of them, over one database."""

from __future__ import annotations

from contextlib import ExitStack
from uuid import uuid4

from stillframe.config import Settings
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.controller.imagedesk import ImageDesk
from stillframe.controller.outbox import Outbox
from stillframe.controller.reconcile import Reconciler
from stillframe.controller.reservations import Reservations
from stillframe.controller.rotation import Rotation, Shelf
from stillframe.images.glance import Access
from stillframe.messaging import remote
from stillframe.messaging.bells import Bells
from stillframe.messaging.bus import Bus
from stillframe.services import control, process
from stillframe.volumes.access import Access as CinderAccess


def start(settings: Settings, stack: ExitStack) -> None:
    """Starts the parts in order; the stack ends them in reverse."""
    bus = Bus(settings.messaging.transport_url, settings.oslo)
    stack.callback(bus.close)
    db = control.shared_database(settings, stack)
    images = control.images(settings)
    bells = Bells(bus)
    stack.callback(bells.close)
    name = f"{settings.service.host}-{uuid4()}"
    desk: ImageDesk | None = None
    shelf: Shelf
    if isinstance(images, Access):
        shelf = desk = control.desk(settings, db, images)
    else:
        shelf = control.DirectoryShelf(images)
    stack.callback(remote.serve(bus, ControllerEndpoint(db, settings.controller), name, desk))
    hearing = remote.Hearing(bus, name)
    reconciler = Reconciler(db, settings.controller, bells, clock=hearing.clock)
    outbox = Outbox(db, control.notifier(settings, stack))
    process.every(stack, control.RECONCILE, "hearing", hearing.check)
    if desk is not None:
        control.begin_looking(stack, Reservations(db, desk, CinderAccess(settings).as_service(), bells))
    control.begin_coordination(settings, stack, db, bells)
    control.begin_chores(stack, reconciler, Rotation(db, shelf), outbox)
