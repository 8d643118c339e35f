"""Something that speaks HTTP where Nova would be: it keeps what it was sent, and says what it is told."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        """The values of a header, in any case."""
        return [value for known, value in self.headers if known.lower() == name.lower()]

    def one(self, name: str) -> str | None:
        """The value of a header that is there once, or None."""
        found = self.all(name)
        assert len(found) <= 1, found
        return found[0] if found else None


Script = Callable[[Received], bytes | Iterable[bytes]]  # the answer, or its pieces; then the connection ends


def said(body: bytes = b"", status: int = 200, *headers: str) -> bytes:
    """An answer of this length."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def said_json(document: Any, status: int = 200) -> bytes:
    """An answer in JSON."""
    return said(json.dumps(document).encode(), status, "Content-Type: application/json")


@dataclass
class SomeNova:
    """Listens on loopback; `script` answers, and may be changed at any time."""

    script: Script = lambda _: said()
    received: list[Received] = field(default_factory=list)
    takes_bodies: bool = True  # False: it answers as soon as it has the head

    def __enter__(self) -> Self:
        nova = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                method, target, _ = self.rfile.readline().decode("latin-1").split(" ", 2)
                headers = []
                while line := self.rfile.readline().decode("latin-1").rstrip("\r\n"):
                    name, _, value = line.partition(": ")
                    headers.append((name, value))
                head = Received(method, target, tuple(headers))
                body = _body(self.rfile, head) if nova.takes_bodies else b""
                asked = Received(method, target, head.headers, body)
                nova.received.append(asked)
                answer = nova.script(asked)
                for piece in (answer,) if isinstance(answer, bytes) else answer:
                    self.wfile.write(piece)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def last(self) -> Received:
        """The newest request."""
        return self.received[-1]


def _body(stream: Any, head: Received) -> bytes:
    if head.one("Transfer-Encoding") != "chunked":
        return bytes(stream.read(int(head.one("Content-Length") or 0)))
    body = b""
    while size := int(stream.readline(), 16):
        body += stream.read(size)
        stream.readline()
    stream.readline()
    return body
