"""QEMU's own word on its jobs, which comes before libvirt's answer to the call that begins them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import libvirt
import libvirt_qemu

LOG = logging.getLogger(__name__)

_EVENT = "JOB_STATUS_CHANGE"  # QEMU's qapi/job.json
_OF_BACKUPS = "backup-"  # how libvirt's names of such jobs begin


@contextmanager
def backups_running(domain: Any, tell: Callable[[float], None]) -> Iterator[None]:
    """Has `tell` called, on libvirt's own thread, with the time.time() at which QEMU began to run a backup of a disk.

    Of a backup of several disks the first suffices: none runs before all of them are fixed. Where libvirt does not
    pass on what QEMU says, `tell` is never called.
    """

    def heard(_handle: Any, _domain: Any, _event: str, seconds: int, micros: int, details: str, _opaque: Any) -> None:
        job = json.loads(details)
        if job["status"] == "running" and job["id"].startswith(_OF_BACKUPS):
            tell(seconds + micros / 1e6)

    handle = domain.connect()
    try:
        number = libvirt_qemu.qemuMonitorEventRegister(handle, domain, _EVENT, heard, None, 0)
    except libvirt.libvirtError as error:
        LOG.info("guests are thawed a little later: libvirt does not tell of QEMU's jobs: %s", error)
        yield
        return
    try:
        yield
    finally:
        with suppress(libvirt.libvirtError):  # the connection broke, and the registration with it
            libvirt_qemu.qemuMonitorEventDeregister(handle, number)
