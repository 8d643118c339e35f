"""A RabbitMQ of one's own: one node in a directory, on loopback ports, with a name, a cookie and an epmd of its own."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import amqp

from lab import processes
from lab.lasting import Lasting
from lab.tools import environment
from lab.wait import until

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
USER, PASSWORD = "stillframe", "lab:s3%cret+@"
READY_DEADLINE = 120.0  # seconds; about six on an idle machine
ERLANG = "+S 1:1 -start_epmd false -kernel inet_dist_use_interface {127,0,0,1}"

CONFIGURATION = """\
listeners.tcp.1 = {address}:{port}
default_user = {user}
default_pass = {password}
loopback_users = none
vm_memory_high_watermark.absolute = 512MB
disk_free_limit.absolute = 1MB
log.console = false
log.file.level = info
"""


class RabbitMq(Lasting):
    """A broker whose files all lie in `directory`; what it keeps outlives kill() and start()."""

    def __init__(self, directory: Path, address: str = "127.0.0.1") -> None:
        self.directory = directory
        self.port, self._epmd_port, self._distribution_port = _free_ports(3)
        self.host = f"{address}:{self.port}"
        self.url = f"rabbit://{USER}:{quote(PASSWORD, safe='')}@{self.host}/"
        self._node = f"sf{secrets.token_hex(4)}@localhost"
        self._epmd: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        configuration = CONFIGURATION.format(address=address, port=self.port, user=USER, password=PASSWORD)
        (directory / "rabbitmq.conf").write_text(configuration)
        (directory / "enabled_plugins").write_text("[].\n")

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts it and waits until it lets its user in."""
        self.launch()
        until(self._answers, READY_DEADLINE, f"RabbitMQ in {self.directory}", pause=0.1)

    def launch(self) -> None:
        """Starts it and does not wait; it ends when the thread that called this ends."""
        if self._epmd is None:
            self._epmd = self._run("epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1")
            until(lambda: _listens(self._epmd_port), 10, "epmd to listen")
        self._process = self._run(str(SERVER))

    def _run(self, *argv: str) -> subprocess.Popen[bytes]:
        with (self.directory / "output.log").open("ab") as log:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *argv],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment(), start_new_session=True,
            )  # fmt: skip

    def _environment(self) -> dict[str, str]:
        here = self.directory
        return environment(
            {
                "HOME": str(here),  # of the cookie
                "RUNNING_UNDER_SYSTEMD": "1",  # no shell stands between us and the node
                "RABBITMQ_CONF_ENV_FILE": os.devnull,
                "RABBITMQ_NODENAME": self._node,
                "RABBITMQ_CONFIG_FILE": str(here / "rabbitmq.conf"),
                "RABBITMQ_ENABLED_PLUGINS_FILE": str(here / "enabled_plugins"),
                "RABBITMQ_MNESIA_BASE": str(here / "data"),
                "RABBITMQ_LOG_BASE": str(here / "log"),
                "RABBITMQ_PID_FILE": str(here / "pid"),
                "RABBITMQ_DIST_PORT": str(self._distribution_port),
                "ERL_EPMD_PORT": str(self._epmd_port),
                "ERL_EPMD_ADDRESS": "127.0.0.1",
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG,
                "ERL_CRASH_DUMP_SECONDS": "0",
            }
        )

    def _answers(self) -> bool:
        if not self.running:
            raise RuntimeError(f"RabbitMQ ended:\n{(self.directory / 'output.log').read_text()[-4000:]}")
        try:
            with self._connection():
                return True
        except (OSError, amqp.AMQPError):
            return False

    def taken(self, queue: str) -> list[dict[str, Any]]:
        """The notifications that wait in a queue, taken out of it; none where there is no such queue."""
        found = []
        with self._connection() as connection, suppress(amqp.NotFound):
            channel = connection.channel()
            while message := channel.basic_get(queue, no_ack=True):
                found.append(json.loads(json.loads(message.body)["oslo.message"]))
        return found

    def _connection(self) -> amqp.Connection:
        return amqp.Connection(self.host, userid=USER, password=PASSWORD, connect_timeout=5)

    # ------------------------------------------------------------------------------------------------- its faults

    def kill(self) -> None:
        """SIGKILL: what was not durable is lost."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(10)
            self._process = None

    def freeze(self) -> None:
        """SIGSTOP: it is there, and does not answer."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """Kills it and starts it again, on the same port."""
        self.kill()
        self.start()

    def discard(self) -> None:
        """Ends it; no process of it is left."""
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait(10)
            self._epmd = None
        processes.end(self._children, f"RabbitMQ's processes in {self.directory}")

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _children(self) -> tuple[int, ...]:
        needle = os.fsencode(f"HOME={self.directory}")
        return processes.matching(lambda entry: needle in (entry / "environ").read_bytes().split(b"\0"))


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
