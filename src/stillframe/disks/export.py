"""A disk that nobody writes, read through NBD: qemu-nbd, read-only, without a lock that would stop its domain's start."""

from __future__ import annotations

from pathlib import Path

from stillframe.disks.process import Child
from stillframe.model import Disk


def export(disk: Disk, socket: Path, name: str, *, timeout: float) -> Child:
    """Exports the whole chain of an inspected disk on a Unix socket; it answers when this returns.

    The socket's path must be ours alone (a directory of its own, mode 0700, at most 107 bytes long). The export dies
    with this process. Raises ToolFailed, DeadlineExceeded, ChainUnknown (a layer that is not on this host).
    """
    raise NotImplementedError


def end(socket: Path, *, timeout: float) -> None:
    """Ends the export on this socket, whoever started it, and removes the socket.

    Idempotent; needs no Child, so the socket's path is all that a lease must record. Raises DeadlineExceeded.
    """
    raise NotImplementedError
