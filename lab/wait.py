"""Waiting for conditions, always with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class NotInTime(AssertionError):  # noqa: N818
    """A condition did not come true before its deadline."""


def until(condition: Callable[[], T | None], deadline: float, what: str, *, pause: float = 0.02) -> T:
    """The first truthy result of `condition`, asked every `pause` seconds; NotInTime after `deadline` seconds."""
    start = time.monotonic()
    while True:
        result = condition()
        if result:
            return result
        waited = time.monotonic() - start
        if waited > deadline:
            raise NotInTime(f"waited {waited:.1f} s for {what} (last answer: {result!r})")
        time.sleep(pause)
