"""A service as a process: it runs until a signal, and does its chores again and again."""

from __future__ import annotations

import faulthandler
import logging
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType

from stillframe import heap
from stillframe.config import Settings
from stillframe.errors.base import StillframeError

LOG = logging.getLogger(__name__)
HEED = 0.5  # seconds within which a signal is heeded
LEAVE = 5.0  # seconds that a chore under way is waited for; then it ends with the process, as after any crash

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# libraries whose progress is nobody's business
CHATTY = ("alembic", "amqp", "kombu", "oslo", "oslo_messaging", "sqlalchemy", "stevedore")

Start = Callable[[Settings, ExitStack], None]


def run(start: Start, settings: Settings) -> int:
    """Starts the parts, which the stack ends in reverse on SIGTERM or SIGINT; the exit code.

    SIGUSR2 writes to the log what each thread is doing, at any time: also where nothing else answers.
    """
    heap.share()
    faulthandler.register(signal.SIGUSR2)
    stopping = threading.Event()

    def stop(number: int, _frame: FrameType | None) -> None:
        LOG.info("%s: stopping", signal.Signals(number).name)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with ExitStack() as stack:
        start(settings, stack)
        LOG.info("ready")
        # Not one long wait: a signal may reach another thread, and Python handles it once the main thread moves.
        while not stopping.wait(HEED):
            pass
    return 0


def log_to_stderr(level: str) -> None:
    """One line a record; systemd's journal and the like do the rest. Replaces what was set up before."""
    logging.basicConfig(level=level, format=LOG_FORMAT, force=True)
    for library in CHATTY:
        logging.getLogger(library).setLevel(logging.WARNING)


def every(stack: ExitStack, seconds: float, name: str, chore: Callable[[], object]) -> None:
    """Does the chore again and again in a thread until the stack unwinds; a failure is logged and tried again.

    One that is held up when the stack unwinds is left behind.
    """
    done = threading.Event()

    def loop() -> None:
        told = ""  # what was amiss the last time, so that nothing is said every few seconds
        while not done.wait(seconds):
            try:
                chore()
                told = ""
            except StillframeError as error:
                LOG.log(logging.DEBUG if str(error) == told else logging.WARNING, "%s: %s", name, error)
                told = str(error)
            except Exception:
                LOG.exception("%s", name)

    thread = threading.Thread(target=loop, name=name, daemon=True)
    thread.start()
    stack.callback(_join, thread)
    stack.callback(done.set)


def _join(thread: threading.Thread) -> None:
    thread.join(LEAVE)
    if thread.is_alive():
        LOG.warning("%s: still under way after %g seconds, and left behind", thread.name, LEAVE)
