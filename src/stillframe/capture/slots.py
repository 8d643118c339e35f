"""Turns: so many transfers at once on a host, the rest in the order they came."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

POLL = 0.2  # seconds between two looks whether the one who waits was cancelled


class Slots:
    """First come, first served."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._queue: deque[object] = deque()
        self._condition = threading.Condition()

    @contextmanager
    def turn(self, check: Callable[[], None]) -> Iterator[bool]:
        """Waits for a slot and holds it in here; yields whether it waited. `check` may raise to leave the queue."""
        me = object()
        waited = False
        with self._condition:
            self._queue.append(me)
            try:
                while not (self._free and self._queue[0] is me):
                    check()
                    waited = True
                    self._condition.wait(POLL)
                self._free -= 1
            finally:
                self._queue.remove(me)
                self._condition.notify_all()
        try:
            yield waited
        finally:
            with self._condition:
                self._free += 1
                self._condition.notify_all()
