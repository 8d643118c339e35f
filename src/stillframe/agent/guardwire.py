"""What agent and guard say to each other: one line of JSON a request, one an answer, over a Unix socket of mode 0600.

Requests have `do`: hello (uri, grace, silence), here, arm (arm), disarm (key), armed, acted (key). An answer with
`error` is a refusal. An unknown key is ignored, so that neighbouring releases understand each other.
"""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from stillframe.capture.guarding import Arm, ArmKind

Message = dict[str, Any]

LONGEST_LINE = 1 << 20
_KNOWN = {field.name for field in fields(Arm)}


def socket_path(state_dir: Path) -> Path:
    """Where the guard of this state directory listens."""
    return state_dir / "guard.sock"


def lock_path(state_dir: Path) -> Path:
    """The file that the living guard of this state directory holds locked."""
    return state_dir / "guard.lock"


def log_path(state_dir: Path) -> Path:
    """The guard's own log."""
    return state_dir / "guard.log"


def arm_to_json(arm: Arm) -> Message:
    """The arm as JSON types."""
    return asdict(arm)


def arm_from_json(data: Message) -> Arm:
    """The arm again; raises TypeError or ValueError for what is not one."""
    known = {name: value for name, value in data.items() if name in _KNOWN}
    return Arm(**{**known, "kind": ArmKind(known.get("kind", "")), "scratch": tuple(known.get("scratch", ()))})


class Lines:
    """Messages over one connected socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._buffer = bytearray()

    def send(self, message: Message) -> None:
        """Raises OSError."""
        self.socket.sendall(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    def receive(self) -> Message:
        """The next message; waits for it. Raises EOFError at the end, OSError, ValueError for what is no message."""
        while (message := self.buffered()) is None:
            self.fill()
        return message

    def fill(self) -> None:
        """Reads what has come; raises EOFError at the end, OSError."""
        read = self.socket.recv(1 << 16)
        if not read:
            raise EOFError("the other end has closed")
        self._buffer += read

    def buffered(self) -> Message | None:
        """The next message if all of it has been read; raises ValueError for what is no message."""
        line, found, rest = self._buffer.partition(b"\n")
        if not found:
            if len(line) > LONGEST_LINE:
                raise ValueError("a line without end")
            return None
        self._buffer = bytearray(rest)
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError("not a JSON object")  # noqa: TRY004  a bad value from outside, not a bug
        return message

    def close(self) -> None:
        """Closes the socket."""
        self.socket.close()
