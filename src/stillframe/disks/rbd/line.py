"""A connection with a thread of its own: librados can hang for ever, and nothing interrupts it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, wait
from typing import TypeVar

import rados

from stillframe.errors.capture import DeadlineExceeded

LOG = logging.getLogger(__name__)
T = TypeVar("T")

Work = Callable[[rados.Rados], T]
SLICE = 0.25  # seconds that are waited at a time


class Line:
    """Does one piece of work after the other; one that misses its deadline ends the line behind itself."""

    def __init__(self, connect: Callable[[], rados.Rados]) -> None:
        """`connect` is called in the line's thread, before the first work; what it raises, every work raises."""
        self._connect = connect
        self._inbox: queue.SimpleQueue[Callable[[rados.Rados], None] | None] = queue.SimpleQueue()
        self._failed: BaseException | None = None
        self.abandoned = False
        # a daemon: what never returns must not keep the process from ending
        threading.Thread(target=self._run, name="ceph", daemon=True).start()

    def call(self, what: str, timeout: float, work: Work[T], undo: Work[object] | None = None) -> T:
        """What the work returns or raises; DeadlineExceeded abandons the line.

        Work that is done only after its deadline is undone by `undo`: nobody knows of it any more.
        """
        outcome = self.begin(work, undo)
        if not _settled(outcome, timeout) and outcome.cancel():
            self.abandon()
            raise DeadlineExceeded(what=what, seconds=timeout)
        return outcome.result()

    def begin(self, work: Work[T], undo: Work[object] | None = None) -> Future[T]:
        """The work's outcome, which is there once all before it is done; cancelled, it is undone or not begun."""
        outcome: Future[T] = Future()

        def settle(connection: rados.Rados) -> None:
            try:
                if self._failed is not None:
                    outcome.set_exception(self._failed)
                elif not outcome.cancelled():
                    _settle(outcome, connection, work)
            except InvalidStateError:  # cancelled meanwhile
                if undo is not None:
                    _undo(undo, connection)

        self._inbox.put(settle)
        return outcome

    def abandon(self) -> None:
        """Nothing more is done on it; it is shut down once what it does has returned. Never waits."""
        self.abandoned = True
        self._inbox.put(None)

    def _run(self) -> None:
        began = time.monotonic()
        connection: rados.Rados | None = None
        try:
            connection = self._connect()
        except BaseException as error:  # noqa: BLE001  (raised by every work)
            self._failed = error
        while (settle := self._inbox.get()) is not None:
            settle(connection)
            del settle  # it may hold an image, which must be closed before its connection is
        if connection is not None:
            connection.shutdown()
        LOG.debug("a connection to Ceph ended after %.1f s", time.monotonic() - began)


def _settled(outcome: Future[T], timeout: float) -> bool:
    """Whether it is after so many seconds; a process that was stopped as a whole meanwhile has not waited."""
    left = timeout
    while left > 0 and not outcome.done():
        wait([outcome], min(left, SLICE))
        left -= SLICE
    return outcome.done()


def _settle(outcome: Future[T], connection: rados.Rados, work: Work[T]) -> None:
    """Raises InvalidStateError where the work was done for nobody."""
    try:
        result = work(connection)
    except BaseException as error:  # noqa: BLE001  (raised by whoever waits for the outcome)
        if not outcome.cancelled():
            outcome.set_exception(error)
    else:
        outcome.set_result(result)


def _undo(undo: Work[object], connection: rados.Rados) -> None:
    try:
        undo(connection)
    except Exception:
        LOG.exception("what Ceph had done too late could not be undone")
