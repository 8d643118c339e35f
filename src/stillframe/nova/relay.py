"""Requests on their way to Nova and its answers on their way back, as they came, with bounded memory.

Each request has a connection of its own: one that is kept may be closed by Nova just when it is used again, and a
request that was sent must not be sent twice.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from socket import socket
from urllib.parse import SplitResult, urlsplit

from stillframe.errors.base import StillframeError
from stillframe.errors.nova import NovaSilent, NovaUnreachable

CONNECT_SECONDS = 5.0  # for a connection: one that takes longer goes to a host that is down
CHUNK = 64 << 10
VIA = "stillframe"  # our name in the header Via, by which a request is known that comes back to us

# RFC 9110, 7.6.1: between two neighbours only
HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
     "transfer-encoding", "upgrade")
)  # fmt: skip

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for Nova."""

    method: str
    target: str  # path and query, as they were sent
    headers: Headers = ()  # without those of one hop
    body: Iterable[bytes] = ()
    length: int | None = 0  # of the body; None: not known before its end


class Reply:
    """Nova's answer: its head, and its body to be read once. Whoever has it closes it."""

    def __init__(self, connection: HTTPConnection, sock: socket, response: HTTPResponse, seconds: float) -> None:
        self.status = response.status
        self.reason = response.reason
        self.headers = end_to_end(response.getheaders())
        self._connection = connection
        self._sock = sock
        self._response = response
        self._seconds = seconds

    def header(self, name: str) -> str | None:
        """The value of a header, whatever its case."""
        return next((value for known, value in self.headers if known.lower() == name), None)

    def __iter__(self) -> Iterator[bytes]:
        """The body, as it comes. Raises NovaSilent, NovaUnreachable."""
        deadline = time.monotonic() + self._seconds
        while data := self._read(deadline):
            yield data

    def read(self, most: int) -> bytes | None:
        """The whole body; None when it is larger than `most` bytes."""
        parts: list[bytes] = []
        size = 0
        for data in self:
            size += len(data)
            if size > most:
                return None
            parts.append(data)
        return b"".join(parts)

    def close(self) -> None:
        """Also of one that was not read to its end; again is fine."""
        self._response.close()
        self._connection.close()

    def _read(self, deadline: float) -> bytes:
        if self._response.isclosed():
            return b""
        left = deadline - time.monotonic()
        if left <= 0:
            raise NovaSilent(seconds=self._seconds)
        try:
            self._sock.settimeout(left)
            data = self._response.read1(CHUNK)
        except (OSError, HTTPException) as error:
            raise _failure(error, self._seconds) from error
        if not data and self._response.length:
            raise NovaUnreachable(reason="its answer was cut off")
        return data


class Relay:
    """The way to Nova, for any number of threads."""

    def __init__(self, root: Callable[[], str], tls: ssl.SSLContext, seconds: float) -> None:
        """`root` tells Nova's URL without a version; `seconds` for the head of an answer, and again for its body."""
        self._root = root
        self._tls = tls
        self._seconds = seconds

    def send(self, asked: Asked) -> Reply:
        """Nova's answer, whatever it is. Raises NovaUnreachable, NovaSilent, and what reading the body raises."""
        root = urlsplit(self._root())
        connection = self._connection(root)
        try:
            return self._exchange(connection, root.path + asked.target, asked)
        except BaseException:
            connection.close()
            raise

    def within(self, seconds: float) -> Relay:
        """The same with another patience."""
        return Relay(self._root, self._tls, seconds)

    def _connection(self, root: SplitResult) -> HTTPConnection:
        host = root.hostname or ""
        if root.scheme == "https":
            return HTTPSConnection(host, root.port, timeout=CONNECT_SECONDS, context=self._tls)
        return HTTPConnection(host, root.port, timeout=CONNECT_SECONDS)

    def _exchange(self, connection: HTTPConnection, target: str, asked: Asked) -> Reply:
        sock = self._connected(connection)
        try:
            named = any(name.lower() == "host" for name, _ in asked.headers)
            connection.putrequest(asked.method, target, skip_host=named, skip_accept_encoding=True)
            for name, value in (*asked.headers, *_framing(asked), ("Via", f"1.1 {VIA}"), ("Connection", "close")):
                connection.putheader(name, value)
            connection.endheaders()
        except (OSError, HTTPException) as error:
            raise _failure(error, self._seconds) from error
        whole = self._send_body(connection, asked)
        try:
            return Reply(connection, sock, connection.getresponse(), self._seconds)
        except (OSError, HTTPException) as error:
            if not whole and isinstance(error, ConnectionError):
                raise NovaUnreachable(reason="it did not take the whole request") from error
            raise _failure(error, self._seconds) from error

    def _connected(self, connection: HTTPConnection) -> socket:
        try:
            connection.connect()
        except TimeoutError as error:
            raise NovaUnreachable(reason=f"no connection within {CONNECT_SECONDS:g} seconds") from error
        except OSError as error:
            raise _failure(error, self._seconds) from error
        sock: socket = connection.sock
        sock.settimeout(self._seconds)
        return sock

    def _send_body(self, connection: HTTPConnection, asked: Asked) -> bool:
        """False when Nova took no more: it may have answered already."""
        chunked = asked.length is None
        for data in asked.body:
            if not self._sent(connection, b"%x\r\n%b\r\n" % (len(data), data) if chunked else data):
                return False
        return not chunked or self._sent(connection, b"0\r\n\r\n")

    def _sent(self, connection: HTTPConnection, data: bytes) -> bool:
        try:
            connection.send(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        except OSError as error:
            raise _failure(error, self._seconds) from error
        return True


def end_to_end(headers: Iterable[tuple[str, str]]) -> Headers:
    """Without what concerns only the connection that they came by."""
    known = tuple(headers)
    listed = {
        part.strip().lower() for name, value in known if name.lower() == "connection" for part in value.split(",")
    }
    return tuple((name, value) for name, value in known if name.lower() not in HOP_BY_HOP | listed)


def _framing(asked: Asked) -> Headers:
    """How the body ends: told here alone, so that it is told once."""
    if asked.length is None:
        return (("Transfer-Encoding", "chunked"),)
    return (("Content-Length", str(asked.length)),) if asked.length or asked.method in ("POST", "PUT", "PATCH") else ()


def _failure(error: Exception, seconds: float) -> StillframeError:
    if isinstance(error, TimeoutError):
        return NovaSilent(seconds=seconds)
    if isinstance(error, ConnectionRefusedError):
        return NovaUnreachable(reason="nobody listens there", operator=str(error))
    if isinstance(error, OSError):
        return NovaUnreachable(reason="the connection failed", operator=str(error))
    return NovaUnreachable(reason="it answers like no web service", operator=repr(error))
