"""All of Stillframe on one host, from one command: API, controller, agent and guard, put together here."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from stillframe.agent.doctor import strays
from stillframe.agent.lock import locked
from stillframe.api.deps import Check
from stillframe.api.server import serve
from stillframe.capture.tools import Tools
from stillframe.config import Settings
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.controller.outbox import Outbox
from stillframe.controller.reconcile import Reconciler
from stillframe.controller.reservations import Reservations
from stillframe.controller.rotation import Rotation
from stillframe.errors.capture import HypervisorUnavailable
from stillframe.images.desk import NobodyAtDesk
from stillframe.images.glance import Access
from stillframe.messaging.inprocess import InProcess
from stillframe.services import apiside, control, hostside, process
from stillframe.volumes.access import Access as CinderAccess


def run(settings: Settings) -> int:
    """Serves until SIGTERM or SIGINT, then ends cleanly within the stop deadline; the exit code."""
    return process.run(_start, settings)


def _start(settings: Settings, stack: ExitStack) -> None:
    """Starts the parts in order; the stack ends them in reverse."""
    stack.enter_context(locked(settings.service.state_dir))
    db = control.database(settings, stack)
    bells = InProcess()
    images = control.images(settings)
    desk = control.desk(settings, db, images) if isinstance(images, Access) else None
    tools = hostside.tools(settings, stack, desk or NobodyAtDesk())
    bell = bells.bell(settings.service.host)
    agent = hostside.agent(settings, stack, tools, ControllerEndpoint(db, settings.controller), bell)
    reconciler = Reconciler(db, settings.controller, bells)
    outbox = Outbox(db, control.notifier(settings, stack))
    if desk is not None:
        control.begin_looking(stack, Reservations(db, desk, CinderAccess(settings).as_service(), bells))
    control.begin_coordination(settings, stack, db, bells)
    control.begin_chores(stack, reconciler, Rotation(db, desk or control.DirectoryShelf(tools.directory)), outbox)
    hostside.begin(settings, stack, agent, tools.store)
    journal = hostside.journal(settings, stack)
    # the agent's own directory: it knows how to remove what an image has elsewhere
    shown = images if isinstance(images, Access) else tools.directory
    app = apiside.application_over(
        settings, db, bells, shown, lambda: _health(tools), strays=lambda: len(strays(tools, journal)) + agent.hung()
    )
    stack.enter_context(serve(app, settings.api))


def _health(tools: Tools) -> Sequence[Check]:
    """What a capture needs here, and what is wrong with it."""
    return (
        Check("hypervisor", None if tools.hypervisor.alive else HypervisorUnavailable().fault),
        apiside.checked("images", tools.store.check),
        apiside.checked("guard", lambda: tools.guard.disarm("healthcheck")),
    )
