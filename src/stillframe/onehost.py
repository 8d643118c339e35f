"""All of Stillframe on one host, from one command: API, controller, agent and guard, put together here."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from stillframe.agent.guardlink import GuardLink
from stillframe.agent.identity import identity
from stillframe.agent.journal import Journal
from stillframe.agent.lock import locked
from stillframe.agent.service import AgentService
from stillframe.api.app import application
from stillframe.api.deps import Check, Deps
from stillframe.api.server import serve
from stillframe.capture.stillness import Stillness
from stillframe.capture.tools import Tools
from stillframe.config import Settings
from stillframe.controller.captures import Captures
from stillframe.controller.database import Database
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.controller.hosts import Hosts
from stillframe.controller.reconcile import Reconciler
from stillframe.controller.rotation import Rotation
from stillframe.controller.servers import Servers
from stillframe.errors import HypervisorUnavailable, ImageNotFound, StillframeError, fault_of
from stillframe.hypervisor.connection import Connection
from stillframe.images.directory import DirectoryStore
from stillframe.messaging.inprocess import InProcess
from stillframe.model import now

LOG = logging.getLogger(__name__)
HEED = 0.5  # seconds within which a signal is heeded
RECONCILE = 5.0  # seconds between two looks at what ends without anybody asking


def run(settings: Settings) -> int:
    """Serves until SIGTERM or SIGINT, then ends cleanly within the stop deadline; the exit code."""
    stopping = threading.Event()

    def stop(number: int, _frame: FrameType | None) -> None:
        LOG.info("%s: stopping", signal.Signals(number).name)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with ExitStack() as stack:
        _start(settings, stack)
        LOG.info("ready")
        # Not one long wait: a signal may reach another thread, and Python handles it once the main thread moves.
        while not stopping.wait(HEED):
            pass
    return 0


def _start(settings: Settings, stack: ExitStack) -> None:
    """Starts the parts in order; the stack ends them in reverse."""
    state_dir = settings.service.state_dir
    stack.enter_context(locked(state_dir))
    _make_directories(settings)
    db = Database(settings.database.connection)
    stack.callback(db.close)
    db.upgrade()
    bells = InProcess()
    tools = _tools(settings, stack)
    journal = Journal(state_dir / "journal.sqlite")
    stack.callback(journal.close)
    agent = AgentService(
        settings.service.host,
        tools=tools,
        journal=journal,
        controller=ControllerEndpoint(db, settings.controller),
        options=settings.agent,
        woken=bells.bell(settings.service.host),
        agent_id=identity(state_dir),
    )
    captures = Captures(db, bells)
    _every(stack, RECONCILE, _chores(db, settings, bells, tools.store))
    agent.start()
    stack.callback(lambda: agent.stop(time.monotonic() + settings.service.stop_deadline))
    deps = Deps(settings, Servers(db), captures, Hosts(db), tools.store, lambda: _health(tools))
    stack.enter_context(serve(application(deps), settings.api))


def _make_directories(settings: Settings) -> None:
    """QEMU's user must reach scratch and sockets by their full names, and list nothing."""
    settings.capture.scratch_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    _run_dir(settings).mkdir(mode=0o711, exist_ok=True)


def _run_dir(settings: Settings) -> Path:
    return settings.service.state_dir / "run"


def _tools(settings: Settings, stack: ExitStack) -> Tools:
    store = DirectoryStore(settings.images.directory)
    store.prepare()
    store.tidy()
    for half in store.halves():
        LOG.warning("in the image directory, %s is no published image: %s", half.name, half.reason)
    connection = Connection(settings.agent.libvirt_uri)
    stack.callback(connection.close)
    try:
        connection.open()
    except HypervisorUnavailable as error:
        LOG.warning("%s It is tried again until it answers.", error)
    guard = GuardLink(settings.service.state_dir, settings.agent.libvirt_uri, settings.agent.guard_grace)
    guard.start()
    stack.callback(guard.close)
    return Tools(connection, guard, store, settings.capture, Stillness(), _run_dir(settings))


class _DirectoryShelf:
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
        if self.exists(image_id):
            self._store.delete(image_id)


def _chores(db: Database, settings: Settings, bells: InProcess, store: DirectoryStore) -> Callable[[], None]:
    reconciler = Reconciler(db, settings.controller, bells)
    rotation = Rotation(db, _DirectoryShelf(store))

    def chores() -> None:
        reconciler.run_once(now())
        rotation.run_once()

    return chores


def _every(stack: ExitStack, seconds: float, chore: Callable[[], None]) -> None:
    """Does the chore again and again in a thread until the stack unwinds; a failure is logged and tried again."""
    done = threading.Event()

    def loop() -> None:
        while not done.wait(seconds):
            try:
                chore()
            except StillframeError as error:
                LOG.warning("reconcile: %s", error)
            except Exception:
                LOG.exception("reconcile")

    thread = threading.Thread(target=loop, name="controller", daemon=True)
    thread.start()
    stack.callback(thread.join)
    stack.callback(done.set)


def _health(tools: Tools) -> Sequence[Check]:
    """What a capture needs here, and what is wrong with it."""
    return (
        Check("hypervisor", None if tools.hypervisor.alive else HypervisorUnavailable().fault),
        _checked("images", tools.store.check),
        _checked("guard", lambda: tools.guard.disarm("healthcheck")),
    )


def _checked(name: str, check: Callable[[], object]) -> Check:
    try:
        check()
    except StillframeError as error:
        return Check(name, fault_of(error))
    return Check(name)
