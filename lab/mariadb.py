"""A MariaDB of one's own, on a Unix socket in its directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pymysql

from lab.daemon import Daemon

USER = "root"
SETTINGS = {
    "innodb-flush-log-at-trx-commit": "2",  # written at each commit, not synced: a killed server loses nothing
    "innodb-buffer-pool-size": "64M",
    "innodb-log-file-size": "16M",
    "max-connections": "200",
}


class MariaDb(Daemon):
    """One server; `url` names a database of it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._data = directory / "data"
        self._socket = directory / "sock"
        if not self._data.exists():
            self.run(
                "mariadb-install-db", "--no-defaults", f"--datadir={self._data}", "--skip-test-db",
                "--auth-root-authentication-method=normal", "--innodb-log-file-size=16M",
            )  # fmt: skip

    def url(self, database: str = "mysql") -> str:
        """SQLAlchemy's URL."""
        return f"mysql+pymysql://{USER}@localhost/{database}?unix_socket={self._socket}"

    def create(self, database: str) -> str:
        """Makes an empty database; its URL."""
        self.sql(f"CREATE DATABASE {database}")
        return self.url(database)

    def sql(self, statement: str) -> tuple[tuple[Any, ...], ...]:
        """Runs a statement; its rows."""
        with (
            pymysql.connect(unix_socket=str(self._socket), user=USER) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
            return tuple(cursor.fetchall())

    def command(self) -> Sequence[str | Path]:
        """See Daemon."""
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        places = [f"--datadir={self._data}", f"--socket={self._socket}", f"--pid-file={self.directory / 'pid'}"]
        return ["mariadbd", "--no-defaults", "--skip-networking", *places, *settings]

    def answers(self) -> bool:
        """See Daemon."""
        try:
            return bool(self.sql("SELECT 1"))
        except pymysql.err.OperationalError:
            return False
