"""Turns: so many transfers at once on a host, the rest in the order they came."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

POLL = 0.2  # seconds between two looks whether the one who waits was cancelled
PATIENCE = 3.0  # seconds that those who came later let one go first that is still being planned


class Slots:
    """First come, first served: who has the lowest place of those that wait."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._places = itertools.count()
        self._coming: dict[int, float] = {}  # who has a place and did not ask yet, and until when it is waited for
        self._queue: set[int] = set()
        self._served: set[int] = set()
        self._condition = threading.Condition()

    def place(self) -> int:
        """The next place: whoever takes it asks for its turn soon, or leaves."""
        with self._condition:
            place = next(self._places)
            self._coming[place] = time.monotonic() + PATIENCE
            return place

    def leave(self, place: int) -> None:
        """Nobody need wait for this place, nor for its turn, which is over if it had one."""
        with self._condition:
            self._coming.pop(place, None)
            self._served.discard(place)
            self._condition.notify_all()

    @contextmanager
    def turn(self, place: int, check: Callable[[], None]) -> Iterator[bool]:
        """Waits for a slot and holds it in here; yields whether it waited. `check` may raise to leave the queue."""
        waited = False
        with self._condition:
            self._coming.pop(place, None)
            self._queue.add(place)
            try:
                while not (
                    len(self._served) < self._count and min(self._queue) == place and not self._expected_before(place)
                ):
                    check()
                    waited = True
                    self._condition.wait(POLL)
                self._served.add(place)
            finally:
                self._queue.remove(place)
                self._condition.notify_all()
        try:
            yield waited
        finally:
            self.leave(place)

    def _expected_before(self, place: int) -> bool:
        now = time.monotonic()
        return any(other < place and until > now for other, until in self._coming.items())
