"""Waiting for what is away: a service that is restarted, a host that cannot be reached for a moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

from stillframe.errors.base import StillframeError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long answers are waited for, and by which codes a failure says that there was none yet."""

    seconds: float
    away: Collection[str]
    pause: float  # seconds from a failure to the next try

    def ask(self, question: Callable[[], T], sleep: Callable[[float], object]) -> T:
        """The answer, or the failure that came last in time; `sleep` may raise, to end the waiting."""
        deadline = time.monotonic() + self.seconds
        while True:
            try:
                return question()
            except StillframeError as error:
                if error.fault.code not in self.away or time.monotonic() >= deadline:
                    raise
                sleep(self.pause)
