"""How long something has stayed as it is, by a clock that never jumps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


class Watch:
    """Remembers when this process first saw each value; one thread's."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[Any, float]] = {}

    def unchanged(self, values: Iterable[tuple[str, Any]]) -> dict[str, float]:
        """Seconds that each key has had its present value; keys that are not given any more are forgotten."""
        now = self._clock()
        before, self._seen = self._seen, {}
        for key, value in values:
            known = before.get(key)
            self._seen[key] = known if known is not None and known[0] == value else (value, now)
        return {key: now - since for key, (_, since) in self._seen.items()}
