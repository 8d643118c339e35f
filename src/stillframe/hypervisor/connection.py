"""The one connection to libvirt, which comes back by itself, and the events that it tells.

Three threads: libvirt's own event loop (one a process), the keeper, which connects and reconnects, and the teller,
which calls the subscribers, so that a slow one never holds up libvirt.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import libvirt

from stillframe.errors.capture import HypervisorUnavailable, InstanceGone
from stillframe.hypervisor import eventloop, events
from stillframe.hypervisor.events import DomainEvent, EventKind
from stillframe.hypervisor.translation import failure

LOG = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_KEEPALIVE_SECONDS, _KEEPALIVE_MISSES = 5, 3  # a libvirtd that hangs is given up after some 20 seconds
_JOIN_SECONDS = 2.0

Subscriber = Callable[[DomainEvent], None]


class Connection:
    """libvirt at one URI. Safe to use from any thread; a call that is under way when the link breaks fails."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._handle: Any = None
        self._words = "not connected yet"  # why there is no handle
        self._attempted = threading.Event()
        self._closing = threading.Event()
        self._lost = threading.Event()
        self._subscribers: list[Subscriber] = []
        self._events: queue.SimpleQueue[DomainEvent | None] = queue.SimpleQueue()
        self._threads = (
            threading.Thread(target=self._keep, name="libvirt-keeper", daemon=True),
            threading.Thread(target=self._tell, name="libvirt-teller", daemon=True),
        )

    def open(self, timeout: float = 10.0) -> None:
        """Starts connecting and waits for the first attempt's end; `alive` tells whether it succeeded."""
        eventloop.ensure_running()
        for thread in self._threads:
            thread.start()
        self._attempted.wait(timeout)

    def close(self) -> None:
        """Ends the connection for good. Never from a subscriber."""
        self._closing.set()
        self._lost.set()
        self._threads[0].join(_JOIN_SECONDS)
        self._events.put(None)
        self._threads[1].join(_JOIN_SECONDS)

    @property
    def alive(self) -> bool:
        """True while libvirt can be asked, as far as is known."""
        return self._handle is not None

    def handle(self) -> Any:
        """libvirt's own connection object; raises HypervisorUnavailable."""
        handle = self._handle
        if handle is None:
            raise HypervisorUnavailable(operator=self._words)
        return handle

    def domain(self, instance_id: str) -> Any:
        """libvirt's own domain object; raises HypervisorUnavailable, InstanceGone."""
        try:
            return self.handle().lookupByUUIDString(instance_id)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                raise InstanceGone(instance=instance_id, what="was undefined", operator=str(error)) from error
            raise failure(error, "look a domain up") from error

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Has the callback called with every event from now on, one after the other on one thread.

        The answer is a function that ends it; an event under way may still arrive.
        """
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            with suppress(ValueError):  # twice is fine
                self._subscribers.remove(callback)

        return unsubscribe

    def _keep(self) -> None:
        pause = _FIRST_PAUSE
        while not self._closing.is_set():
            handle = self._connected()
            self._attempted.set()
            if handle is None:
                self._closing.wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            pause = _FIRST_PAUSE
            self._lost.wait()
            self._handle = None
            self._events.put(DomainEvent(EventKind.DISCONNECTED, detail=self._words))
            _discard(handle)

    def _connected(self) -> Any:
        lost = threading.Event()

        def closed(_handle: Any, reason: int, _opaque: Any) -> None:
            self._words = f"the connection was closed (reason {reason})"
            lost.set()

        handle = None
        try:
            handle = libvirt.open(self.uri)
            handle.registerCloseCallback(closed, None)
            handle.setKeepAlive(_KEEPALIVE_SECONDS, _KEEPALIVE_MISSES)
            events.register(handle, self._events.put)
        except libvirt.libvirtError as error:
            self._words = str(error)
            if handle is not None:
                _discard(handle)
            return None
        self._lost = lost
        if self._closing.is_set():
            lost.set()
        self._handle = handle
        self._events.put(DomainEvent(EventKind.CONNECTED, detail=self.uri))
        return handle

    def _tell(self) -> None:
        while (event := self._events.get()) is not None:
            for subscriber in tuple(self._subscribers):
                try:
                    subscriber(event)
                except Exception:
                    LOG.exception("a subscriber failed at %s", event)


def _discard(handle: Any) -> None:
    """Gives the C library back what the connection held; a broken one refuses, having nothing left to give."""
    for callback in tuple(getattr(handle, "domainEventCallbackID", ())):
        with suppress(libvirt.libvirtError):
            handle.domainEventDeregisterAny(callback)
    with suppress(libvirt.libvirtError):
        handle.unregisterCloseCallback()
    with suppress(libvirt.libvirtError):
        handle.close()
