"""Controller and agent in one process: the agent calls the controller's object, the controller rings a bell."""

from __future__ import annotations

import threading


class InProcess:
    """AgentApi by one event a host."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bells: dict[str, threading.Event] = {}

    def bell(self, host: str) -> threading.Event:
        """The host's event: set by `wake`; the agent waits for it with a deadline and clears it before it reports."""
        with self._lock:
            return self._bells.setdefault(host, threading.Event())

    def wake(self, host: str) -> None:
        """See AgentApi."""
        self.bell(host).set()
