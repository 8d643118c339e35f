"""libvirt's event loop: the C library has exactly one a process, and it must exist before any connection."""

from __future__ import annotations

import logging
import threading
from functools import cache

import libvirt

LOG = logging.getLogger(__name__)

_once = threading.Lock()


def ensure_running() -> None:
    """Starts the loop's thread, the first time it is called in this process."""
    with _once:
        _start()


@cache
def _start() -> threading.Thread:
    libvirt.registerErrorHandler(_quiet, None)  # else the C library prints every error to stderr besides raising it
    libvirt.virEventRegisterDefaultImpl()
    thread = threading.Thread(target=_run, name="libvirt-events", daemon=True)
    thread.start()
    return thread


def _quiet(_context: object, _error: object) -> None:
    """Errors reach their callers as exceptions."""


def _run() -> None:
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError:
            LOG.exception("libvirt's event loop failed; it goes on")
