"""The instances of this host, kept current by libvirt's events."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable

from stillframe import records
from stillframe.errors.base import StillframeError
from stillframe.hypervisor import inventory
from stillframe.hypervisor.connection import Connection
from stillframe.hypervisor.events import DomainEvent, EventKind
from stillframe.model import Instance

LOG = logging.getLogger(__name__)


class Inventory:
    """Looked at anew after each event; unknown (None) while libvirt cannot be asked, which is not empty."""

    def __init__(self, connection: Connection, changed: Callable[[], None]) -> None:
        self._connection = connection
        self._changed = changed
        self._stale = threading.Event()
        self._stale.set()
        self._instances: tuple[Instance, ...] | None = None
        self._digest: str | None = None
        self._told = ""  # why nothing is known, as it was logged
        self._unsubscribe = connection.subscribe(self._on_event)

    def close(self) -> None:
        """No more events are listened to."""
        self._unsubscribe()

    def refresh(self) -> None:
        """Asks libvirt again if something has happened since."""
        if not self._stale.is_set():
            return
        self._stale.clear()
        try:
            self._instances = inventory.inventory(self._connection)
        except StillframeError as error:
            self._stale.set()
            if str(error) != self._told:
                LOG.warning("the instances of this host are unknown for now: %s", error)
            self._instances, self._digest, self._told = None, None, str(error)
        else:
            text = "\n".join(records.dumps(instance) for instance in self._instances)
            self._digest, self._told = hashlib.sha256(text.encode()).hexdigest(), ""

    @property
    def digest(self) -> str | None:
        """Tells one list from another; None while nothing is known."""
        return self._digest

    @property
    def instances(self) -> tuple[Instance, ...] | None:
        """All of them, sorted by id; None while nothing is known."""
        return self._instances

    def _on_event(self, event: DomainEvent) -> None:
        if event.kind is not EventKind.DISCONNECTED:
            LOG.debug("libvirt: %s %s %s", event.kind, event.instance_id or "", event.detail)
        self._stale.set()
        self._changed()
