"""Reading an export of QEMU's (or any other) NBD server on a Unix socket."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import sys
import time
from collections.abc import Hashable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

import nbd

from stillframe.datapath.reader import PIECE, WINDOW, Check, Extent
from stillframe.errors.capture import DeadlineExceeded, ReadFailed

SLICE = 100  # milliseconds between two checks of whoever waits
ASK = (4 << 30) - (64 << 10)  # bytes of disk in one question about extents: NBD has 32 bits for them


class NbdReader:
    """One connection, with one read in flight or several; see stillframe.datapath.reader.Reader.

    Reads are bounded by the caller's check alone: a server that hangs gives no sign.
    """

    piece = PIECE

    def __init__(self, path: Path, export: str, *, window: int = WINDOW, timeout: float = 10.0) -> None:
        """Connect within so many seconds; `window`: bytes to be asked ahead. Raises ReadFailed, DeadlineExceeded."""
        self.window: Final = window
        self._where: Final = f"export '{export}' at {path}"
        self._flying: dict[int, tuple[int, memoryview]] = {}
        self._socket = socket.socket(socket.AF_UNIX)
        self._handle = nbd.NBD()
        try:
            self._connect(path, export, timeout)
            self._size: int = self._handle.get_size()
            self._maps: bool = self._handle.can_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
        except (nbd.Error, OSError) as error:
            self.close()
            raise self._failed(0, error) from error
        except DeadlineExceeded:
            self.close()
            raise

    def __enter__(self) -> NbdReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def size(self) -> int:
        """Bytes of the export."""
        return self._size

    def extents(self, check: Check) -> Iterator[Extent]:
        """A server that says nothing of allocation has data everywhere; so have ranges of unknown content."""
        offset = 0
        while offset < self._size:
            for length, flags in self._status(offset, min(ASK, self._size - offset), check):
                count = min(length, self._size - offset)
                yield Extent(offset, count, data=not flags & nbd.STATE_ZERO)
                offset += count

    def start(self, offset: int, buffer: memoryview) -> Hashable:
        # libnbd's binding never lets go of what it is given: a view of ours, released, keeps no memory
        view = memoryview(buffer)
        try:
            ticket: int = self._handle.aio_pread(nbd.Buffer.from_buffer(view), offset)
        except nbd.Error as error:
            view.release()
            raise self._failed(offset, error) from error
        self._flying[ticket] = (offset, view)
        return ticket

    def arriving(self, check: Check) -> None:
        """The server answers as soon as it has read, and takes longer to send than the disk has taken."""
        try:
            while self._handle.aio_in_flight() == len(self._flying) > 0 and not self._handle.poll(SLICE):
                check()
        except nbd.Error as error:
            raise self._failed(min(offset for offset, _ in self._flying.values()), error) from error

    def finish(self, ticket: Hashable, check: Check) -> None:
        assert isinstance(ticket, int)  # noqa: S101 - as `start` gave it
        self._wait(ticket, self._flying[ticket][0], check)
        _forget(self._flying.pop(ticket)[1])

    def close(self) -> None:
        """Nothing writes to the buffers once the socket is shut."""
        if self._socket.fileno() >= 0:
            with contextlib.suppress(OSError):  # it was never connected, or the server has gone
                self._socket.shutdown(socket.SHUT_RDWR)
                while self._socket.recv(1 << 20):  # a server that waits for room to send is woken by room, not by HUP
                    pass
            self._socket.close()
        self._let_go()

    def _let_go(self) -> None:
        """libnbd gives back the buffers of reads that will never be answered, as soon as it knows that."""
        with contextlib.suppress(nbd.Error):  # of the connection's end
            while self._flying and self._handle.poll(SLICE):
                pass
        for ticket, (_, view) in self._flying.items():
            with contextlib.suppress(nbd.Error):  # the read has failed
                self._handle.aio_command_completed(ticket)
            with contextlib.suppress(BufferError):  # libnbd still holds it: the memory stays, and is not used again
                view.release()
        self._flying.clear()

    def _connect(self, path: Path, export: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        self._socket.settimeout(timeout)
        self._socket.connect(str(path))
        self._handle.set_export_name(export)
        self._handle.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
        self._handle.set_pread_initialize(False)  # nobody looks at a buffer whose read has failed
        # a duplicate: the handle closes its own only when the last reference to it goes, in tracebacks too
        self._handle.aio_connect_socket(self._socket.dup().detach())
        while not self._handle.aio_is_ready():
            if time.monotonic() > deadline:
                raise DeadlineExceeded(what="Connecting to the held disk", seconds=timeout, operator=self._where)
            self._handle.poll(SLICE)

    def _status(self, offset: int, length: int, check: Check) -> list[tuple[int, int]]:
        """Length and flags of extents from this offset on; at least one."""
        if not self._maps:
            return [(length, 0)]
        answer: list[tuple[int, int]] = []

        def collect(context: str, _: int, entries: list[int], __: object) -> int:
            if context == nbd.CONTEXT_BASE_ALLOCATION:
                answer.extend(zip(entries[::2], entries[1::2], strict=True))
            return 0

        try:
            ticket = self._handle.aio_block_status(length, offset, collect)
        except nbd.Error as error:
            raise self._failed(offset, error) from error
        self._wait(ticket, offset, check)
        if not answer or not all(count for count, _ in answer):
            raise ReadFailed(offset=offset, operator=f"{self._where}: the server tells no extent there")
        return answer

    def _wait(self, ticket: Hashable, offset: int, check: Check) -> None:
        try:
            while not self._handle.aio_command_completed(ticket):
                check()
                self._handle.poll(SLICE)
        except nbd.Error as error:
            raise self._failed(offset, error) from error

    def _failed(self, offset: int, error: Exception) -> ReadFailed:
        return ReadFailed(offset=offset, operator=f"{self._where}: {error}")


def _references(view: memoryview) -> int:
    return sys.getrefcount(view)


ALONE: Final = _references(memoryview(b""))  # of a view that nobody has but who counts


def _forget(view: memoryview) -> None:
    """Releases a view, and gives back the reference that libnbd's binding keeps for ever (seen in 1.14).

    Otherwise each read leaves some 200 bytes behind: 400 MB after a tebibyte.
    """
    view.release()
    if _references(view) > ALONE + 1:  # ours, and one that nobody answers for
        ctypes.pythonapi.Py_DecRef(ctypes.py_object(view))
