"""A connection with a thread of its own: librados can hang for ever, and nothing interrupts it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import rados

from stillframe.errors import DeadlineExceeded

LOG = logging.getLogger(__name__)
T = TypeVar("T")

Work = Callable[[rados.Rados], T]


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

    def call(self, what: str, timeout: float, work: Work[T]) -> T:
        """What the work returns or raises; DeadlineExceeded abandons the line."""
        try:
            return self.begin(work).result(timeout)
        except TimeoutError as error:
            self.abandon()
            raise DeadlineExceeded(what=what, seconds=timeout) from error

    def begin(self, work: Work[T]) -> Future[T]:
        """The work's outcome, which is there once all before it is done."""
        future: Future[T] = Future()

        def settle(connection: rados.Rados) -> None:
            if self._failed is not None:
                future.set_exception(self._failed)
                return
            try:
                result = work(connection)
            except BaseException as error:  # noqa: BLE001  (raised by whoever waits for the outcome)
                future.set_exception(error)
            else:
                future.set_result(result)

        self._inbox.put(settle)
        return future

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
