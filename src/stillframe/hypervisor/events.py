"""What happens to domains and to the connection, in few kinds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import libvirt


class EventKind(StrEnum):
    """What has happened. After CONNECTED anything may have changed unseen: ask anew."""

    DEFINED = "defined"
    UNDEFINED = "undefined"
    STARTED = "started"
    STOPPED = "stopped"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    REBOOTED = "rebooted"
    IO_REPORTED = "i/o error reported"  # to the guest, which was not paused for it; the detail is its disk
    CHANGED = "changed"  # devices, media, metadata, or the chain of a disk
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"


@dataclass(frozen=True, slots=True)
class DomainEvent:
    """One happening; the detail is for logs, but for SUSPENDED, where IO_ERROR tells that a write found no room."""

    kind: EventKind
    instance_id: str | None = None
    detail: str = ""


IO_ERROR = "ioerror"

_LIFECYCLE = {
    libvirt.VIR_DOMAIN_EVENT_DEFINED: (EventKind.DEFINED, ("added", "updated", "renamed", "from snapshot")),
    libvirt.VIR_DOMAIN_EVENT_UNDEFINED: (EventKind.UNDEFINED, ("removed", "renamed")),
    libvirt.VIR_DOMAIN_EVENT_STARTED: (
        EventKind.STARTED,
        ("booted", "migrated", "restored", "from snapshot", "wakeup"),
    ),
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: (
        EventKind.SUSPENDED,
        ("paused", "migrated", IO_ERROR, "watchdog", "restored", "from snapshot", "api error", "postcopy"),
    ),
    libvirt.VIR_DOMAIN_EVENT_RESUMED: (EventKind.RESUMED, ("unpaused", "migrated", "from snapshot", "postcopy")),
    libvirt.VIR_DOMAIN_EVENT_STOPPED: (
        EventKind.STOPPED,
        ("shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "from snapshot"),
    ),
    libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED: (EventKind.SUSPENDED, ("by the guest to memory", "by the guest to disk")),
    libvirt.VIR_DOMAIN_EVENT_CRASHED: (EventKind.CHANGED, ("panicked", "crashloaded")),
}
_ENDED_BLOCK_JOBS = (libvirt.VIR_DOMAIN_BLOCK_JOB_COMPLETED, libvirt.VIR_DOMAIN_BLOCK_JOB_CANCELED)


def register(handle: Any, publish: Callable[[DomainEvent], None]) -> list[int]:
    """Has every event of this libvirt connection published, on libvirt's own thread; the callbacks' ids."""

    def lifecycle(_handle: Any, domain: Any, event: int, detail: int, _opaque: Any) -> None:
        if event in _LIFECYCLE:
            kind, details = _LIFECYCLE[event]
            words = details[detail] if detail < len(details) else str(detail)
            publish(DomainEvent(kind, domain.UUIDString(), words))

    def rebooted(_handle: Any, domain: Any, _opaque: Any) -> None:
        publish(DomainEvent(EventKind.REBOOTED, domain.UUIDString()))

    def changed(what: str) -> Callable[..., None]:
        return lambda _handle, domain, *_: publish(DomainEvent(EventKind.CHANGED, domain.UUIDString(), what))

    def block_job(_handle: Any, domain: Any, disk: str, _type: int, status: int, _opaque: Any) -> None:
        if status in _ENDED_BLOCK_JOBS:
            publish(DomainEvent(EventKind.CHANGED, domain.UUIDString(), f"block job of {disk} ended"))

    def io_error(_handle: Any, domain: Any, _path: str, alias: str, action: int, *_: Any) -> None:
        if action == libvirt.VIR_DOMAIN_EVENT_IO_ERROR_REPORT:
            publish(DomainEvent(EventKind.IO_REPORTED, domain.UUIDString(), alias))

    callbacks: dict[int, Callable[..., None]] = {
        libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE: lifecycle,
        libvirt.VIR_DOMAIN_EVENT_ID_REBOOT: rebooted,
        libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED: changed("device added"),
        libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED: changed("device removed"),
        libvirt.VIR_DOMAIN_EVENT_ID_DISK_CHANGE: changed("medium changed"),
        libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE: changed("metadata changed"),
        libvirt.VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE: changed("memory changed"),
        libvirt.VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2: block_job,
        libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON: io_error,
    }
    return [handle.domainEventRegisterAny(None, number, callback, None) for number, callback in callbacks.items()]
