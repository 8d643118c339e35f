"""While a guest stands still, nothing of ours that can wait competes with it for disk and processors."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Stillness:
    """Kept by captures around their instants; several may keep it at once."""

    def __init__(self) -> None:
        self._keepers = 0
        self._changed = threading.Condition()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Others hold back in here, as far as they can wait."""
        with self._changed:
            self._keepers += 1
        try:
            yield
        finally:
            with self._changed:
                self._keepers -= 1
                self._changed.notify_all()

    def wait(self, timeout: float) -> None:
        """Returns when nobody keeps it, or after so many seconds all the same."""
        with self._changed:
            self._changed.wait_for(lambda: self._keepers == 0, timeout)
