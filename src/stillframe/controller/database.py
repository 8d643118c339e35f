"""The database: its transactions, which are functions that may run again, and its migrations."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import alembic.command
import alembic.config
import alembic.util
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from stillframe.controller import backends
from stillframe.errors.capture import DeadlineExceeded
from stillframe.errors.request import BadRequest
from stillframe.errors.service import DatabaseUnusable

LOG = logging.getLogger(__name__)
MIGRATIONS = Path(__file__).with_name("migrations")
UPGRADE_TIMEOUT = 600.0  # seconds that an upgrade waits for another one, and for each of its statements
FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.5  # seconds before a transaction is tried again

P = ParamSpec("P")
T = TypeVar("T")


class Database:
    """One SQLAlchemy engine, shared by all threads of a process."""

    def __init__(self, url: str, *, busy_timeout: float = 30.0, patience: float = 10.0) -> None:
        """`patience` is for how long what may pass is tried again: a deadlock, a server that restarts.

        Raises ConfigInvalid.
        """
        self._url = backends.parsed(url)
        self._busy_timeout = busy_timeout
        self._patience = patience
        # SQLite has one writer at a time and makes the others poll: threads queue here instead, without the sleeps.
        self._turn = threading.Lock() if self._sqlite else None
        self._engine = backends.engine(self._url, busy_timeout)
        self._writer = self._engine.execution_options(stillframe_write=True)

    @property
    def _sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    def upgrade(self) -> None:
        """Brings the schema to this release's; safe when several processes start at once.

        Raises DatabaseUnusable, also when the schema is a newer release's.
        """
        if self._sqlite and self._url.database:
            Path(self._url.database).touch(mode=0o600)  # its users' names and states are nobody else's
        engine = backends.engine(self._url, UPGRADE_TIMEOUT)
        try:
            with self._in_turn():
                self._transaction(engine.execution_options(stillframe_write=True), _upgrade)
        finally:
            engine.dispose()

    def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `work(connection, ...)` in a transaction that only reads: on SQLite one view that no writer holds up.

        As `write`, it may run again.
        """
        return self._transaction(self._engine, lambda connection: work(connection, *args, **kwargs))

    def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `work(connection, ...)` in a transaction: committed at its end, rolled back on any exception.

        It may run again: after a deadlock, and after a connection was lost, when nobody can tell whether the commit had
        got through. So running it twice must do as much as once. Raises DatabaseUnusable, or DeadlineExceeded when
        other writers were not done within the busy timeout, or BadRequest for a value that the database cannot hold.
        """
        with self._in_turn():
            return self._transaction(self._writer, lambda connection: work(connection, *args, **kwargs))

    def close(self) -> None:
        """Closes every connection."""
        self._engine.dispose()

    def _transaction(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        give_up = time.monotonic() + self._patience
        pause = FIRST_PAUSE
        while True:
            try:
                with engine.begin() as connection:
                    return work(connection)
            except DataError as error:
                raise BadRequest(reason="A value cannot be recorded", operator=str(error.orig)) from error
            except DBAPIError as error:
                # The driver's words for the operator; statements and their values stay out of it.
                if time.monotonic() >= give_up or not backends.passes(error):
                    raise DatabaseUnusable(reason="it refused or failed", operator=str(error.orig)) from error
                LOG.info("the database: %s; the transaction runs again", error.orig)
            except PoolTimeout as error:
                raise DatabaseUnusable(reason="all connections are busy", operator=str(error)) from error
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - so that two do not meet again
            pause = min(2 * pause, LONGEST_PAUSE)

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


def _upgrade(connection: Connection) -> None:
    configuration = alembic.config.Config()
    configuration.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    configuration.attributes["connection"] = connection
    backends.lock_upgrades(connection, UPGRADE_TIMEOUT)
    try:
        alembic.command.upgrade(configuration, "head")
    except alembic.util.CommandError as error:
        raise DatabaseUnusable(reason="its schema is not one of this release", operator=str(error)) from error
