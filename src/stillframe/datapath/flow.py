"""What the threads of one copy tell each other."""

from __future__ import annotations

import threading
import time

from stillframe.datapath.control import Control
from stillframe.errors.capture import DeadlineExceeded

SLICE = 0.1  # seconds between two checks of whoever waits


class Flow:
    """That bytes move, and the first error, which ends all."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.error: BaseException | None = None
        self._lock = threading.Lock()
        self._moved = time.monotonic()

    def fail(self, error: BaseException) -> None:
        """End the copy with this error; the first one stays."""
        with self._lock:
            if self.error is None:
                self.error = error

    def moved(self) -> None:
        """Something got further: the copy has not stalled. Raises what ends the copy."""
        self._moved = time.monotonic()
        self.control.check()
        self._check_error()

    def check(self, waiting_for: str, offset: int) -> None:
        """Raise what ends the copy; DeadlineExceeded, with these words, where nothing has moved for too long."""
        self.control.check()
        self._check_error()
        if time.monotonic() - self._moved > self.control.stall:
            raise DeadlineExceeded(what=f"{waiting_for} at byte {offset}", seconds=self.control.stall)

    def _check_error(self) -> None:
        if self.error is not None:
            raise self.error
