"""A proxy before a web service that does its work, but for the answers and the cuts that a test asks for."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from lab.openstack.local import LocalServer

PIECE = 1 << 18
HOP = ("connection", "keep-alive", "transfer-encoding", "host")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that has come."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass(slots=True)
class Fault:
    """What to do with requests that match: answer at once, or let so many bytes of them through and cut them off."""

    matches: Callable[[Asked], bool]
    status: int = 0  # 0: cut off
    after: int = 0  # bytes of the body
    times: int = 1
    done: threading.Event = field(default_factory=threading.Event)


class Proxy(LocalServer):
    """Stands before `target` (http://HOST:PORT), on a port of its own."""

    def __init__(self, target: str) -> None:
        self.asked: list[Asked] = []
        self.faults: list[Fault] = []
        self.garble: int | None = None  # where an upload gets a byte that nobody sent
        self._target = urlsplit(target).netloc
        super().__init__(self._handler())

    def uploads(self, status: int = 0, *, after: int = 0, times: int = 1) -> Fault:
        """A fault of the next uploads."""
        fault = Fault(lambda asked: asked.method == "PUT" and asked.path.endswith("/file"), status, after, times)
        self.faults.append(fault)
        return fault

    def refuse(self, method: str, ending: str, status: int) -> Fault:
        """The next request with this method and end of its path is answered like this."""
        fault = Fault(lambda asked: asked.method == method and asked.path.endswith(ending), status)
        self.faults.append(fault)
        return fault

    def clear(self) -> None:
        """Forgets requests and faults."""
        self.garble = None
        self.asked.clear()
        self.faults.clear()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self) -> None:
                proxy.handle(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        return Handler

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """One request, from its head to its answer."""
        asked = Asked(request.command, request.path, {name.lower(): value for name, value in request.headers.items()})
        self.asked.append(asked)
        length = int(asked.headers.get("content-length", 0))
        fault = next((each for each in self.faults if each.times and each.matches(asked)), None)
        if fault is None:
            self._forward(request, asked, length)
            return
        fault.times -= 1
        if fault.status:
            _take(request, min(fault.after, length))
            body = f"<html><body><h1>{fault.status}</h1>said by the test</body></html>".encode()
            _answer(request, fault.status, {"Content-Length": str(len(body)), "Connection": "close"}, body)
        else:
            with suppress(OSError):
                self._forward(request, asked, length, cut_at=fault.after)
        request.close_connection = True
        fault.done.set()

    def _forward(self, request: BaseHTTPRequestHandler, asked: Asked, length: int, cut_at: int | None = None) -> None:
        onward = http.client.HTTPConnection(self._target, timeout=120)
        try:
            onward.putrequest(asked.method, asked.path, skip_accept_encoding=True)
            for name, value in asked.headers.items():
                if name not in HOP:
                    onward.putheader(name, value)
            onward.endheaders()
            left = length if cut_at is None else min(length, cut_at)
            while left:
                piece = request.rfile.read1(min(PIECE, left))
                if not piece:
                    return
                onward.send(self._garbled(asked, piece, length - left))
                left -= len(piece)
            if cut_at is not None:
                return
            answer = onward.getresponse()
            body = answer.read()
            headers = {name: value for name, value in answer.getheaders() if name.lower() not in HOP}
            _answer(request, answer.status, headers | {"Content-Length": str(len(body))}, body)
        except OSError:
            request.close_connection = True
        finally:
            onward.close()

    def _garbled(self, asked: Asked, piece: bytes, offset: int) -> bytes:
        at = None if self.garble is None or asked.method != "PUT" else self.garble - offset
        if at is None or not 0 <= at < len(piece):
            return piece
        return piece[:at] + bytes([piece[at] ^ 0xFF]) + piece[at + 1 :]


def _take(request: BaseHTTPRequestHandler, count: int) -> None:
    while count and (piece := request.rfile.read1(min(PIECE, count))):
        count -= len(piece)


def _answer(request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
    with suppress(OSError):
        request.send_response_only(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)
