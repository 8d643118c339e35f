"""An OpenStack service as a process: its environment, its configuration, its port, its faults."""

from __future__ import annotations

import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

import requests

from lab.daemon import Daemon
from lab.mariadb import MariaDb
from lab.tools import ROOT

SERVE = Path(__file__).with_name("serve.py")
Sections = Mapping[str, Mapping[str, object]]


class WebService(Daemon):
    """One service over a database of its own in a MariaDB. Killed or stopped, its port stays its own."""

    name = ""  # of its environment, its command and its configuration

    def __init__(self, directory: Path, db: MariaDb) -> None:
        super().__init__(directory)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.database = db.create(self.name)
        self.python = ROOT / f".venv-{self.name}" / "bin" / "python"

    def write(self, file: str, sections: Sections) -> None:
        """Writes one of its configuration files."""
        text = "\n".join(
            f"[{section}]\n" + "".join(f"{name} = {value}\n" for name, value in values.items())
            for section, values in sections.items()
        )
        (self.directory / file).write_text(text)

    def manage(self, file: str, *words: str) -> str:
        """Its own command for administrators."""
        command = self.python.with_name(f"{self.name}-manage")
        return self.run(command, "--config-file", self.directory / file, *words)

    def command(self) -> Sequence[str | Path]:
        """See Daemon."""
        where = f"OS_{self.name.upper()}_CONFIG_DIR={self.directory}"
        return ["env", where, self.python, "-P", SERVE, f"{self.name}.wsgi.api", str(self.port)]

    def answers(self) -> bool:
        """See Daemon."""
        try:
            return requests.get(self.url, timeout=5).status_code in (200, 300)
        except requests.ConnectionError:
            return False

    def freeze(self) -> None:
        """SIGSTOP: it takes connections, and does not answer."""
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.send(signal.SIGCONT)


def free_port() -> int:
    """A port of the loopback address that nobody had a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
