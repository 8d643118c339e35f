"""A disk that nobody writes, read through NBD: qemu-nbd, read-only, without locks that would keep its domain down."""

from __future__ import annotations

import socket as sockets
import tempfile
import time
from pathlib import Path

from stillframe.disks import graph, process
from stillframe.disks.process import Child
from stillframe.errors.capture import ChainUnknown, DeadlineExceeded, ReadFailed, ToolFailed
from stillframe.model import Disk

GREETING = b"NBDMAGIC"
CLIENTS = 8  # connections at once: the reader's, and some to look in
END = 4.0  # seconds, half of them before SIGKILL: it only reads, and a guest may stand still until it has ended
POLL = 0.005  # seconds between looks at a starting or ending process


def export(disk: Disk, socket: Path, name: str, *, timeout: float) -> Child:
    """Exports the whole chain of an inspected disk on a Unix socket; it answers when this returns.

    The socket's path must be ours alone (a directory of its own, mode 0700, at most 107 bytes long). The export dies
    with this process. Raises ToolFailed, DeadlineExceeded, ReadFailed, ChainUnknown (a layer that is not on this host).
    """
    reason = graph.obstacle(disk)
    if reason:
        raise ChainUnknown(disk=disk.target, reason=reason)
    try:
        image = graph.filename(disk)
    except OSError as error:
        raise ReadFailed(offset=0, operator=str(error)) from error
    argv = [
        "qemu-nbd",
        "--read-only",
        "--persistent",
        f"--shared={CLIENTS}",
        _argument(socket),
        f"--export-name={name}",
        image,
    ]
    with tempfile.TemporaryFile() as stderr:
        child = process.spawn(argv, stderr)
        deadline = time.monotonic() + timeout
        while not _answers(socket):
            if not process.alive(child):
                stderr.seek(0)
                raise ToolFailed(tool="qemu-nbd", operator=stderr.read(2000).decode(errors="replace").strip())
            if time.monotonic() > deadline:
                process.stop(child, timeout)
                raise DeadlineExceeded(what="Opening the disk with qemu-nbd", seconds=timeout)
            time.sleep(POLL)
    return child


def end(socket: Path, *, timeout: float) -> None:
    """Ends the export on this socket, whoever started it, and removes the socket.

    Idempotent; needs no Child, so the socket's path is all that a lease must record. Raises DeadlineExceeded.
    """
    for child in process.children_with(_argument(socket)):
        process.stop(child, min(timeout, END))
    socket.unlink(missing_ok=True)


def running(socket: Path) -> bool:
    """Whether a process exports a disk on this socket, whoever started it."""
    return bool(process.children_with(_argument(socket)))


def _argument(socket: Path) -> str:
    return f"--socket={socket}"


def _answers(socket: Path) -> bool:
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as client:
        client.settimeout(POLL)
        try:
            client.connect(str(socket))
            return client.recv(len(GREETING)) == GREETING
        except OSError:
            return False
