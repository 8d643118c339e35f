"""Runs `stillframe up` in a directory of its own, talks to it, stops it, kills it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import processes
from lab.lasting import Lasting
from lab.libvirtd import PrivateLibvirtd
from lab.tools import environment
from lab.wait import NotInTime, until

Options = Mapping[str, Mapping[str, object]]
STILLFRAME = Path(sys.executable).with_name("stillframe")
READY_DEADLINE = 30.0  # seconds; about one on an idle machine
STOP_DEADLINE = 60.0
STACKS = "most recent call first"  # as the service writes on SIGUSR2


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; `body` is parsed where it is JSON, else bytes."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: Any


class Service(Lasting):
    """`stillframe up` for the domains of `host`; state, configuration and log lie in `directory`.

    `options` are added to the configuration: {"capture": {"scratch_cap": 1 << 20}}; "DEFAULT" is a group too.
    """

    def __init__(self, directory: Path, host: PrivateLibvirtd | None, options: Options | None = None) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.images = self.state / "images"
        self.scratch = self.state / "scratch"
        self.socket = self.state / "api.sock"
        self.log_file = directory / "stillframe.log"
        self.config_file = directory / "stillframe.conf"
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        self.configure(host, options or {})

    def configure(self, host: PrivateLibvirtd | None, options: Options) -> None:
        """Writes the configuration file, for the next start."""
        groups: dict[str, dict[str, object]] = {
            "DEFAULT": {"state_dir": self.state, "host": "lab", "log_level": "DEBUG"},
            "agent": {"heartbeat": 1} | ({"libvirt_uri": host.uri} if host else {}),
        }
        for group, values in options.items():
            groups.setdefault(group, {}).update(values)
        self.images = Path(str(groups.get("images", {}).get("directory", self.images)))
        self.scratch = Path(str(groups.get("capture", {}).get("scratch_dir", self.scratch)))
        sections = (
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in values.items())
            for group, values in groups.items()
        )
        self.config_file.write_text("\n".join(sections))

    # --------------------------------------------------------------------------------------------- the process

    @property
    def pid(self) -> int:
        """The service's process id; raises RuntimeError when it was not started."""
        if self._process is None:
            raise RuntimeError("the service is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts it and waits until it is ready."""
        self.launch()
        self.ready()

    def ready(self) -> None:
        """Waits until it is ready."""
        until(self._ready, READY_DEADLINE, f"the service to be ready; its log: {self.log_file}")

    def launch(self) -> subprocess.Popen[bytes]:
        """Starts it and does not wait; it is told to end when the thread that called this ends."""
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *self.command(), "--config-file", self.config_file],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(), start_new_session=True,
            )  # fmt: skip
        return self._process

    def command(self) -> Sequence[str | Path]:
        """What is run."""
        return STILLFRAME, "up"

    def _ready(self) -> bool:
        if not self.running:
            raise RuntimeError(f"the service ended while it started:\n{self.log()[-4000:]}")
        return self.answers()

    def answers(self) -> bool:
        """Whether it can do its work by now."""
        try:
            return self.get("/healthcheck").status == 200
        except OSError:
            return False

    def stop(self, deadline: float = STOP_DEADLINE) -> int:
        """SIGTERM, then its exit status; raises subprocess.TimeoutExpired."""
        return self._end(signal.SIGTERM, deadline)

    def kill(self) -> None:
        """SIGKILL to the service alone: its guard and other children are left to themselves."""
        self._end(signal.SIGKILL, 10)

    def restart(self) -> None:
        """Stops and starts it."""
        self.stop()
        self.start()

    def _end(self, number: signal.Signals, deadline: float) -> int:
        if self._process is None:
            raise RuntimeError("the service is not running")
        self._process.send_signal(number)
        try:
            status = self._process.wait(deadline)
        except subprocess.TimeoutExpired as error:
            self._process.send_signal(signal.SIGUSR2)
            with suppress(NotInTime):  # one that is stopped tells nothing
                until(lambda: STACKS in self.log(), 10, "the stacks of a service that does not end")
            error.add_note(self.log()[-12000:])
            raise
        self._process = None
        return status

    def discard(self) -> None:
        """Ends it. After a clean end nothing may be left of it (NotInTime); what a killed one has left is ended too."""
        try:
            if self.running:
                self.stop()
                until(lambda: not self.children(), 15, f"the end of all processes of the service in {self.directory}")
        finally:
            self._process = None
            processes.end(self.children, f"what the service in {self.directory} has left")

    def children(self) -> tuple[int, ...]:
        """All living processes with this service's directory on their command line; itself included, guests not."""
        return processes.mentioning(self.directory)

    def log(self) -> str:
        """All that it has logged, over all its runs."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    # ------------------------------------------------------------------------------------------------ talking

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """GET over the Unix socket."""
        return self.request("GET", path, headers=headers)

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, timeout: float = 30
    ) -> Answer:
        """Any request over the Unix socket; `body` is sent as JSON. Raises OSError when nobody listens."""
        connection = _UnixConnection(self.socket, timeout)
        try:
            sent = {"Content-Type": "application/json"} if body is not None else {}
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, {**sent, **(headers or {})})
            response = connection.getresponse()
            content = response.read()
            names = {name.lower(): value for name, value in response.getheaders()}
        finally:
            connection.close()
        is_json = names.get("content-type", "").startswith("application/json") and content
        return Answer(response.status, names, json.loads(content) if is_json else content)

    def cli(self, *words: str, timeout: float = 120, check: bool = True) -> subprocess.CompletedProcess[str]:
        """The command line client, with captured output; with `check` a failure raises RuntimeError with its words."""
        done = subprocess.run(
            [STILLFRAME, *words], capture_output=True, text=True, timeout=timeout, check=False, env=self.client()
        )
        if check and done.returncode:
            raise RuntimeError(f"stillframe {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def client(self) -> dict[str, str]:
        """An environment in which the client finds this service, and nothing of the caller's cloud."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "STILLFRAME_"))}
        return {**kept, "STILLFRAME_SOCKET": str(self.socket)}


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
