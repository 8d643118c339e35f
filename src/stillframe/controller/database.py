"""The database: its engine, its transactions, its migrations."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import alembic.util
from sqlalchemy import Connection, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from stillframe.errors import DatabaseUnusable, DeadlineExceeded

MIGRATIONS = Path(__file__).with_name("migrations")


class Database:
    """One SQLAlchemy engine, shared by all threads of a process."""

    def __init__(self, url: str, *, busy_timeout: float = 30.0) -> None:
        self._url = make_url(url)
        self._sqlite = self._url.get_backend_name() == "sqlite"
        self._busy_timeout = busy_timeout
        # SQLite has one writer at a time and makes the others poll: threads queue here instead, without the sleeps.
        self._turn = threading.Lock() if self._sqlite else None
        if self._sqlite:
            self._engine = create_engine(self._url, connect_args={"timeout": busy_timeout})
            event.listen(self._engine, "connect", _prepare_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)
        else:
            self._engine = create_engine(self._url, isolation_level="READ COMMITTED", pool_pre_ping=True)
        self._writer = self._engine.execution_options(stillframe_write=True)

    def upgrade(self) -> None:
        """Brings the schema to this release's; safe when several processes start at once on SQLite.

        Raises DatabaseUnusable, also when the schema is a newer release's.
        """
        if self._sqlite and self._url.database:
            Path(self._url.database).touch(mode=0o600)  # its users' names and states are nobody else's
        configuration = alembic.config.Config()
        configuration.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        with self.write() as connection:
            configuration.attributes["connection"] = connection
            try:
                alembic.command.upgrade(configuration, "head")
            except alembic.util.CommandError as error:
                raise DatabaseUnusable(reason="its schema is not one of this release", operator=str(error)) from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads: on SQLite one consistent view that no writer holds up."""
        with _translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes: committed at the end, rolled back on any exception.

        Raises DatabaseUnusable, or DeadlineExceeded when other writers were not done within the busy timeout.
        """
        with self._in_turn(), _translated(), self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Closes every connection."""
        self._engine.dispose()

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        if self._turn is None:
            yield
            return
        if not self._turn.acquire(timeout=self._busy_timeout):
            raise DeadlineExceeded(what="Waiting for the database", seconds=self._busy_timeout)
        try:
            yield
        finally:
            self._turn.release()


@contextmanager
def _translated() -> Iterator[None]:
    """The driver's words for the operator; statements and their values stay out of it."""
    try:
        yield
    except DBAPIError as error:
        raise DatabaseUnusable(reason="it refused or failed", operator=str(error.orig)) from error
    except PoolTimeout as error:
        raise DatabaseUnusable(reason="all connections are busy", operator=str(error)) from error


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver begins no transactions: _begin_sqlite does
    for pragma in (
        "journal_mode = WAL",  # readers and the writer do not wait for each other
        "synchronous = FULL",  # a commit that was answered survives a power cut
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later could not be granted the lock any more: take it at the start.
    write = connection.get_execution_options().get("stillframe_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
