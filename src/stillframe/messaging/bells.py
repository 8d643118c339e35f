"""Waking hosts over RabbitMQ."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from stillframe.errors.base import StillframeError
from stillframe.messaging import wire
from stillframe.messaging.bus import EXCHANGE, Bus, Target

LOG = logging.getLogger(__name__)
SEND_SECONDS = 5.0


class Bells:
    """AgentApi: a thread of its own rings, so that nobody waits for the broker. What cannot be sent is forgotten."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._condition = threading.Condition()
        self._hosts: set[str] = set()
        self._closed = False
        self._thread = threading.Thread(target=self._ring_until_closed, name="bells", daemon=True)
        self._thread.start()

    def wake(self, host: str) -> None:
        """See AgentApi."""
        with self._condition:
            self._hosts.add(host)
            self._condition.notify()

    def close(self) -> None:
        """Rings no more."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join(SEND_SECONDS)

    def _ring_until_closed(self) -> None:
        while (host := self._next()) is not None:
            try:
                self._bus.cast(_target(host), "wake", SEND_SECONDS)
            except StillframeError as error:
                LOG.warning("host %s was not woken, and asks by itself later: %s", host, error)

    def _next(self) -> str | None:
        with self._condition:
            self._condition.wait_for(lambda: self._hosts or self._closed)
            return None if self._closed else self._hosts.pop()


class _Endpoint:
    target = Target(version=wire.VERSION)

    def __init__(self, bell: threading.Event) -> None:
        self._bell = bell

    def wake(self, _context: object) -> None:
        self._bell.set()


def listen(bus: Bus, host: str, bell: threading.Event) -> Callable[[], None]:
    """Sets the host's bell when it is woken; what it returns ends it."""
    return bus.serve(Target(exchange=EXCHANGE, topic=_topic(host), server=host), _Endpoint(bell))


def _target(host: str) -> Target:
    # a fanout's queue lives as long as its agent: nothing piles up for one that is gone
    return Target(exchange=EXCHANGE, topic=_topic(host), fanout=True, version="1.0")


def _topic(host: str) -> str:
    return f"stillframe-agent.{host}"
