"""A PostgreSQL of one's own, on a Unix socket in its directory."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

from lab import processes
from lab.daemon import Daemon
from lab.tools import ToolFailed
from lab.wait import until

USER = "stillframe"
PASSWORD = "only-of-the-lab"  # noqa: S105
PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/usr/bin"))
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",  # a killed server loses nothing all the same: the system has what it wrote
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
}


class Postgres(Daemon):
    """One server; `url` names a database of it."""

    STOP = signal.SIGINT  # SIGTERM waits for the clients

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._data = directory / "data"
        if not self._data.exists():
            self.run(
                PROGRAMS / "initdb", "--pgdata", self._data, "--username", USER, "--auth", "trust",
                "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync",
            )  # fmt: skip

    def url(self, database: str = "postgres") -> str:
        """SQLAlchemy's URL."""
        return f"postgresql+psycopg://{USER}:{PASSWORD}@/{database}?host={self.directory}"

    def create(self, database: str) -> str:
        """Makes an empty database; its URL."""
        self.sql(f"CREATE DATABASE {database}")
        return self.url(database)

    def sql(self, statement: str) -> str:
        """Runs a statement; what it printed."""
        return self.run(
            PROGRAMS / "psql", "--no-psqlrc", "--tuples-only", "--no-align", "--host", self.directory, "--username",
            USER, "--command", statement, "postgres",
        )  # fmt: skip

    def kill(self) -> None:
        """As a crash; returns once its backends have noticed: until then no other server may have the data."""
        super().kill()
        until(lambda: not self._backends(), 30, f"the end of all backends in {self._data}")

    def _backends(self) -> tuple[int, ...]:
        return processes.matching(lambda entry: (entry / "cwd").readlink() == self._data)

    def command(self) -> Sequence[str | Path]:
        """See Daemon."""
        settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        return [PROGRAMS / "postgres", "-D", self._data, *settings, "-c", f"unix_socket_directories={self.directory}"]

    def answers(self) -> bool:
        """See Daemon."""
        try:
            return self.sql("SELECT 1").strip() == "1"
        except ToolFailed:
            return False
