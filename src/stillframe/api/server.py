"""The application in a server of its own: cheroot on a Unix socket and, when asked for, on TCP."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from wsgiref.types import WSGIApplication

from cheroot import makefile, server, wsgi
from cheroot.connections import ConnectionManager

from stillframe.api.call import BODY_LIMIT
from stillframe.api.listening import tcp_socket, unix_socket
from stillframe.config import Api

LOG = logging.getLogger(__name__)

REQUEST_SECONDS = 30.0  # for a whole request to arrive, however slowly its sender feeds us
IDLE_SECONDS = 10  # for the next byte in either direction
STOP_SECONDS = 5  # for answers under way when we stop
HEADER_LIMIT = 64 << 10


@dataclass(frozen=True, slots=True)
class Served:
    """Where the API listens now."""

    socket: Path
    address: tuple[str, int] | None


@contextmanager
def serve(app: WSGIApplication, api: Api) -> Iterator[Served]:
    """Serves the application in threads until the context ends. Raises AddressInUse, ConfigInvalid."""
    with ExitStack() as stack:
        address = None
        if api.listen is not None:
            tcp = stack.enter_context(tcp_socket(api.listen))
            address = tcp.getsockname()[:2]
            _start(stack, _Server(app, tcp, api.threads))
        local = stack.enter_context(unix_socket(api.socket, api.socket_group))
        stack.callback(_remove, api.socket, api.socket.stat().st_ino)
        _start(stack, _Server(app, local, api.threads))
        LOG.info("serving on %s%s", api.socket, f" and {api.listen}" if api.listen else "")
        yield Served(api.socket, address)


def _start(stack: ExitStack, http: _Server) -> None:
    http.prepare()
    thread = threading.Thread(target=http.serve, name="api", daemon=True)
    thread.start()
    stack.callback(thread.join, STOP_SECONDS)
    stack.callback(http.stop)


def _remove(path: Path, inode: int) -> None:
    """Only our own: a successor may have put its socket there already."""
    try:
        if path.stat().st_ino == inode:
            path.unlink()
    except FileNotFoundError:
        pass


class _Server(wsgi.Server):
    """A cheroot server over a socket that listens already; peers of a Unix socket are known by their kernel."""

    def __init__(self, app: WSGIApplication, listener: socket.socket, threads: int) -> None:
        local = listener.family == socket.AF_UNIX
        name = listener.getsockname()
        super().__init__(
            # a string tells cheroot that nobody needs to be connected to when it stops
            bind_addr="stillframe" if local else name[:2],
            wsgi_app=app,
            numthreads=threads,
            server_name="localhost" if local else str(name[0]),
            timeout=IDLE_SECONDS,
            shutdown_timeout=STOP_SECONDS,
            peercreds_enabled=local,
        )
        self._listener = listener
        self.max_request_header_size = HEADER_LIMIT
        self.max_request_body_size = BODY_LIMIT
        self.keep_alive_conn_limit = 4 * threads
        self.ConnectionClass = _Connection

    def prepare(self) -> None:
        """What cheroot does, but for making the socket."""
        self._interrupt = None
        self.software = "Stillframe"
        self.socket = self._listener
        self.socket.settimeout(1)
        self._connections = ConnectionManager(self)
        self.requests.start()
        self.ready = True
        self._start_time = time.time()

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        """To our log instead of stderr."""
        LOG.log(level, "%s", msg, exc_info=traceback)


class _Connection(server.HTTPConnection):
    """A connection on which every request has a deadline."""

    def __init__(self, http: Any, sock: socket.socket, makefile: Any = None) -> None:  # noqa: ARG002
        super().__init__(http, sock, _file)

    def communicate(self) -> bool:
        """One request and its answer; true to keep the connection."""
        self.rfile.raw.deadline = time.monotonic() + REQUEST_SECONDS
        return bool(super().communicate())  # type: ignore[no-untyped-call]


class _Reading(socket.SocketIO):
    """Reads that end at the deadline, at the latest."""

    deadline = float("inf")

    def readinto(self, buffer: Any) -> int | None:
        """Raises TimeoutError."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")  # cheroot knows it by these words
        sock = self._sock  # type: ignore[attr-defined]
        sock.settimeout(min(IDLE_SECONDS, left))
        try:
            return super().readinto(buffer)
        finally:
            sock.settimeout(IDLE_SECONDS)


class _Reader(makefile.StreamReader):
    """cheroot's reader over ours."""

    def __init__(self, sock: socket.socket, size: int) -> None:
        super(makefile.StreamReader, self).__init__(_Reading(sock, "rb"), size)
        self.bytes_read = 0


def _file(sock: socket.socket, mode: str, size: int) -> Any:
    return _Reader(sock, size) if "r" in mode else makefile.StreamWriter(sock, mode, size)
