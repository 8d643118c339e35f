"""A service that gives canned answers on a Unix socket and remembers what it was asked."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

SERVER = "11111111-1111-4111-8111-111111111111"
CAPTURE = "22222222-2222-4222-8222-222222222222"


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str]


@dataclass(frozen=True)
class Reply:
    """An answer; `cut` breaks the connection after so many bytes of the body."""

    body: Any = None
    status: int = 200
    cut: int | None = None

    def data(self) -> bytes:
        """The bytes of the body."""
        if isinstance(self.body, bytes):
            return self.body
        return b"" if self.body is None else json.dumps(self.body).encode()


Answer = Reply | Callable[[Asked], Reply]


@dataclass
class Service:
    """Answers by method and path: one after the other, the last one again and again."""

    socket: Path
    answers: dict[tuple[str, str], list[Answer]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def on(self, method: str, path: str, *answers: Answer | dict[str, Any]) -> None:
        """Sets the answers."""
        made = [Reply(answer) if isinstance(answer, dict) else answer for answer in answers]
        self.answers[method, path] = list(made)

    def reply(self, asked: Asked) -> Reply:
        """The answer to one request."""
        self.asked.append(asked)
        queue = self.answers.get((asked.method, asked.path))
        if not queue:
            return fault(404, "itemNotFound", "not-found", f"{asked.method} {asked.path} could not be found.")
        answer = queue.pop(0) if len(queue) > 1 else queue[0]
        return answer if isinstance(answer, Reply) else answer(asked)

    def bodies(self, method: str) -> list[Any]:
        """Bodies of the requests of one method."""
        return [asked.body for asked in self.asked if asked.method == method]


def fault(status: int, name: str, code: str, message: str, **more: str) -> Reply:
    """A fault as the API writes it."""
    return Reply({name: {"code": status, "message": message, "error": code, **more}}, status)


def server(name: str = "db", identifier: str = SERVER, **more: Any) -> dict[str, Any]:
    """A server with details."""
    return {
        "id": identifier,
        "name": name,
        "status": "ACTIVE",
        "OS-EXT-STS:task_state": None,
        "OS-EXT-STS:vm_state": "active",
        "OS-EXT-STS:power_state": 1,
        "OS-EXT-SRV-ATTR:host": "host1",
        "OS-EXT-SRV-ATTR:root_device_name": "/dev/vda",
        "image": "",
        "flavor": {"original_name": "1c-128m"},
    } | more


def step(name: str, begin: int, end: int | None, **more: Any) -> dict[str, Any]:
    """A step from one second to another."""

    def at(second: int) -> str:
        return f"2026-11-22T10:00:{second:02}.000000Z"

    ended = None if end is None else at(end)
    return {
        "name": name,
        "started_at": at(begin),
        "ended_at": ended,
        "bytes": None,
        "message": "",
        "failed": False,
    } | more


def capture(status: str, *steps: dict[str, Any], done: int = 0, total: int = 0, **more: Any) -> dict[str, Any]:
    """A capture's answer."""
    rate = 1 << 20 if 0 < done < total else 0
    record = {
        "id": CAPTURE,
        "server_id": SERVER,
        "name": "golden",
        "kind": "snapshot",
        "status": status,
        "phase": "waiting",
        "created_at": "2026-11-22T10:00:00.000000Z",
        "started_at": None,
        "ended_at": None,
        "source": "backup",
        "transfer": "directory",
        "captured_at": None,
        "progress": {
            "bytes_done": done,
            "bytes_total": total,
            "percent": round(100 * done / total, 1) if total else None,
            "bytes_per_second": rate,
            "seconds_left": (total - done) / rate if rate else None,
        },
        "links": [],
        "refused": ["reflink+clone: /images is on ext4, which cannot share blocks"],
        "consistency": None,
        "frozen_ms": None,
        "images": [{"id": CAPTURE, "name": "golden", "disk": None, "disk_format": None, "size": None, "sha256": None}],
        "steps": list(steps),
        "fault": None,
    }
    return {"capture": record | more}


@contextmanager
def serving(directory: Path) -> Iterator[Service]:
    """A service in this directory until the block ends."""
    service = Service(directory / "api.sock")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def address_string(self) -> str:
            return "unix"

        def log_message(self, *_: Any) -> None:
            pass

        def handle_one(self) -> None:
            split = urlsplit(self.path)
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(data) if data else None
            asked = Asked(self.command, split.path, dict(parse_qsl(split.query)), body, dict(self.headers))
            reply = service.reply(asked)
            with suppress(BrokenPipeError):  # the command was stopped
                self.answer(reply)
            self.close_connection = self.close_connection or reply.cut is not None

        def answer(self, reply: Reply) -> None:
            content = reply.data()
            self.send_response(reply.status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: reply.cut])
            self.wfile.flush()

        do_GET = do_POST = do_DELETE = handle_one  # noqa: N815

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

    with Server(str(service.socket), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield service
        listener.shutdown()
        thread.join(5)
