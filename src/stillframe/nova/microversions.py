"""Which microversions Nova knows: clients may ask for none that only one of the two services has."""

from __future__ import annotations

import json
import re
import threading
import time

from stillframe.errors.base import StillframeError
from stillframe.nova.relay import Asked, Relay

REMEMBERED_SECONDS = 60.0
SECONDS = 5.0  # for its answer: clients wait for ours
LARGEST = 1 << 20  # bytes of a version document: more is something else
_NUMBERS = re.compile(r"(\d+)\.(\d+)")


class Microversions:
    """Asks Nova once in a while; any number of threads."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay.within(SECONDS)
        self._asking = threading.Lock()
        self._known: tuple[int, int] | None = None
        self._asked = float("-inf")

    def highest(self) -> tuple[int, int] | None:
        """The last that Nova has told of; None when it never has."""
        with self._asking:
            if time.monotonic() - self._asked > REMEMBERED_SECONDS:
                self._known = self._ask() or self._known
                self._asked = time.monotonic()
            return self._known

    def _ask(self) -> tuple[int, int] | None:
        try:
            reply = self._relay.send(Asked("GET", "/v2.1/", (("Accept", "application/json"),)))
            try:
                document = reply.read(LARGEST)
            finally:
                reply.close()
            told = json.loads(document or b"null")["version"]["version"]
        except (StillframeError, ValueError, LookupError, TypeError):
            return None
        match = _NUMBERS.fullmatch(str(told))
        return (int(match[1]), int(match[2])) if match else None
