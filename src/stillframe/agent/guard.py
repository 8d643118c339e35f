"""The guard: a small process beside the agent that gives guests back when the agent cannot.

`python -m stillframe.agent.guard --state-dir DIR --uri URI --grace SECONDS`, started by the agent in a session of its
own. It watches what the agent arms, and ends when the agent has gone and nothing is armed any more. SIGTERM makes it do
without the grace; it still gives back first what is armed. It imports only what it needs, for its size.
"""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import selectors
import signal
import socket
import struct
import sys
import time
from pathlib import Path

from stillframe.agent import guardwire
from stillframe.agent.guardwatch import Watches
from stillframe.agent.guardwire import Lines, Message
from stillframe.hypervisor.connection import Connection

LOG = logging.getLogger("stillframe.guard")

_LOCK_SECONDS = 10.0  # the guard before us may be about to end
_FIRST_AGENT_SECONDS = 10.0  # the agent that started us connects at once
_LOOK_SECONDS = 0.2  # between looks whether it may end, once the agent is gone
_SEND_SECONDS = 5.0
_LONGEST_LOG = 1 << 20


class Server:
    """Takes the agent's requests; one thread, no request blocks."""

    def __init__(self, state_dir: Path, uri: str, watches: Watches) -> None:
        self.state_dir = state_dir
        self.uri = uri
        self.watches = watches
        self._began = time.monotonic()
        self._agents: set[Lines] = set()
        self._met = False
        self._silence: float | None = None  # seconds after which an agent that says nothing counts as gone
        self._heard = time.monotonic()
        self._stopping = False
        self._selector = selectors.DefaultSelector()
        self._listener = _listen(guardwire.socket_path(state_dir))
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._signals, signals = socket.socketpair()
        self._signals.setblocking(False)
        signals.setblocking(False)
        self._selector.register(self._signals, selectors.EVENT_READ)
        self._signal_writer = signals
        signal.set_wakeup_fd(signals.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._terminate)

    def serve(self) -> None:
        """Until there is nothing left to guard."""
        while not self._done():
            idle = self._agents and not self._stopping and not self.watches.armed()
            for key, _ in self._selector.select(None if idle else _LOOK_SECONDS):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._signals:
                    self._signals.recv(64)
                else:
                    self._read(key.data)
            self._mind_silence()
        guardwire.socket_path(self.state_dir).unlink(missing_ok=True)
        self._listener.close()

    def _done(self) -> bool:
        waiting = not self._met and time.monotonic() - self._began < _FIRST_AGENT_SECONDS
        present = bool(self._agents) and not self._stopping
        return not present and not waiting and not self.watches.armed()

    def _mind_silence(self) -> None:
        """An agent that was stopped, or hangs, is of no more use to a guest than one that died."""
        silent = self._silence is not None and time.monotonic() - self._heard > self._silence
        if silent and self._agents and self.watches.agent_gone_since is None and self.watches.armed():
            LOG.warning("the agent has said nothing for %g seconds", self._silence)
            self.watches.agent_is(present=False)

    def _terminate(self, _number: int, _frame: object) -> None:
        self._stopping, self._met = True, True
        self.watches.grace = 0.0

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid not in (0, os.getuid()):
            LOG.warning("user %d may not speak to this guard", uid)
            connection.close()
            return
        connection.settimeout(_SEND_SECONDS)
        self._selector.register(connection, selectors.EVENT_READ, Lines(connection))

    def _read(self, lines: Lines) -> None:
        try:
            lines.fill()
            while (message := lines.buffered()) is not None:
                self._hear(lines)
                lines.send(self._answer(lines, message))
        except (EOFError, OSError, ValueError) as error:
            self._part(lines, error)

    def _hear(self, lines: Lines) -> None:
        self._heard = time.monotonic()
        if lines in self._agents and self.watches.agent_gone_since is not None:
            LOG.info("the agent is here again")
            self.watches.agent_is(present=True)

    def _part(self, lines: Lines, error: Exception) -> None:
        self._selector.unregister(lines.socket)
        lines.close()
        if lines in self._agents:
            self._agents.discard(lines)
            LOG.info("the agent has gone: %s", error)
            if not self._agents:
                self.watches.agent_is(present=False)

    def _answer(self, lines: Lines, message: Message) -> Message:
        try:
            return self._do(lines, message)
        except (KeyError, TypeError, ValueError) as error:
            LOG.exception("a request that cannot be understood")
            return {"error": f"{type(error).__name__}: {error}"}

    def _do(self, lines: Lines, message: Message) -> Message:
        match message["do"]:
            case "hello":
                return self._hello(lines, message)
            case "arm":
                self.watches.arm(guardwire.arm_from_json(message["arm"]))
            case "disarm":
                return {"kept": self.watches.disarm(message["key"])}
            case "here":
                pass
            case "armed":
                return {"armed": [guardwire.arm_to_json(arm) for arm in self.watches.armed()]}
            case "acted":
                return {"why": self.watches.acted(message["key"])}
            case unknown:
                return {"error": f"unknown request {unknown!r}"}
        return {}

    def _hello(self, lines: Lines, message: Message) -> Message:
        if message["uri"] != self.uri:
            return {"error": f"this guard works for {self.uri}"}
        if not self._stopping:
            self.watches.grace = float(message["grace"])
        self._silence = message.get("silence")
        self._agents.add(lines)
        self._met = True
        self.watches.agent_is(present=True)
        LOG.info("an agent is here")
        return {"pid": os.getpid()}


def main(argv: list[str] | None = None) -> int:
    """The process; 0 at a proper end, 1 when another guard has the state directory."""
    parser = argparse.ArgumentParser(prog="stillframe-guard", description="Gives guests back when the agent cannot.")
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--uri", required=True)
    parser.add_argument("--grace", type=float, required=True)
    options = parser.parse_args(argv)
    os.umask(0o077)
    _log_to(guardwire.log_path(options.state_dir))
    with guardwire.lock_path(options.state_dir).open("w") as lock:
        if not _locked(lock.fileno()):
            LOG.error("another guard has %s", options.state_dir)
            return 1
        _guard(options.state_dir, options.uri, options.grace)
    return 0


def _guard(state_dir: Path, uri: str, grace: float) -> None:
    connection = Connection(uri)
    watches = Watches(connection, grace)
    connection.subscribe(watches.heard)
    server = Server(state_dir, uri, watches)
    LOG.info("process %d guards for %s", os.getpid(), uri)
    connection.open(timeout=0)
    server.serve()
    LOG.info("process %d ends: nothing is left to guard", os.getpid())
    connection.close()


def _listen(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)  # of a guard that was killed: we hold the lock
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen()
    return listener


def _locked(file: int) -> bool:
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
        time.sleep(0.02)


def _log_to(path: Path) -> None:
    if path.exists() and path.stat().st_size > _LONGEST_LOG:
        path.rename(path.with_name(f"{path.name}.1"))
    logging.basicConfig(filename=path, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")


if __name__ == "__main__":
    sys.exit(main())
