"""What SQLite, PostgreSQL and MariaDB each do in their own way."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from stillframe.controller.columns import UtcTime
from stillframe.errors.capture import DeadlineExceeded
from stillframe.errors.service import ConfigInvalid

DRIVERS = {"sqlite": "pysqlite", "postgresql": "psycopg", "mysql": "pymysql"}
CONNECT = 5  # seconds for a connection: one that takes longer goes to a host that is down
IDLE = 60  # seconds after which a server gives up a transaction whose process stands still with locks in its hands

_UPGRADE_LOCK = 0x5717_F4A3  # any number that nobody else's advisory locks have
_BUSY_PAUSE = 0.01  # seconds before a new SQLite file is asked for again
_POLL = 5  # seconds of one GET_LOCK, so that no answer is waited for as long as the whole

# SQLSTATE classes and codes: connection, rollback by a conflict, too many connections, lock timeout, shutdown, start-up
_POSTGRES_PASSES = ("08", "40", "53300", "55P03", "57P")
# lost record, deadlock, lock timeout, too many connections, shutdown, killed, not ready (Galera), unreachable, lost
_MARIADB_PASSES = (1020, 1213, 1205, 1040, 1053, 1927, 1047, 2002, 2003, 2006, 2013)


class clock(FunctionElement[Any]):  # noqa: N801 - an SQL function
    """The database's clock: the one that all controllers share."""

    type = UtcTime()
    inherit_cache = True


@compiles(clock, "sqlite")
def _sqlite_clock(*_: Any, **__: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f', 'now')"


@compiles(clock, "postgresql")
def _postgres_clock(*_: Any, **__: Any) -> str:
    return "timezone('utc', clock_timestamp())"


@compiles(clock, "mysql")
def _mariadb_clock(*_: Any, **__: Any) -> str:
    return "utc_timestamp(6)"


def parsed(url: str) -> URL:
    """The URL with its driver; raises ConfigInvalid, without a word of the URL: it may hold a password."""
    try:
        made = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise ConfigInvalid(reason="[database] connection is no URL") from error
    driver = DRIVERS.get(made.get_backend_name())
    if driver is None or made.get_driver_name() != driver:
        known = ", ".join(f"{name}+{driver}" for name, driver in DRIVERS.items())
        raise ConfigInvalid(reason=f"[database] connection is of {made.drivername}, and only these are known: {known}")
    return made


def engine(url: URL, timeout: float) -> Engine:
    """An engine whose transactions wait for others, and for an answer, at most about `timeout` seconds.

    Raises ConfigInvalid when the driver is not installed.
    """
    try:
        return _ENGINES[url.get_backend_name()](url, timeout)
    except ModuleNotFoundError as error:
        raise ConfigInvalid(reason=f"[database] connection needs the Python module {error.name}") from error


def passes(error: DBAPIError) -> bool:
    """Whether the same transaction may succeed when it is run again.

    So may one that inserted what another had just inserted, or referred to what another had just deleted: run again, it
    sees that. SQLite, whose writers come one after the other, waits by itself and meets neither.
    """
    original: Any = error.orig
    if type(original).__module__.startswith("sqlite3"):
        return False
    if error.connection_invalidated or isinstance(error, IntegrityError):
        return True
    if hasattr(original, "sqlstate"):
        without_code = isinstance(error, OperationalError)  # no connection: the server has said nothing
        return without_code if original.sqlstate is None else original.sqlstate.startswith(_POSTGRES_PASSES)
    return bool(original.args) and original.args[0] in _MARIADB_PASSES


def lock_upgrades(connection: Connection, timeout: float) -> None:
    """Keeps other processes' upgrades waiting until the transaction is over; SQLite's write transaction does so anyway.

    On MariaDB until the connection is closed, since its DDL ends transactions. Raises DeadlineExceeded there, and fails
    by the lock timeout on PostgreSQL.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
    if connection.dialect.name == "mysql":
        lock = text(f"SELECT GET_LOCK(LEFT(CONCAT('stillframe.', DATABASE()), 64), {_POLL})")
        if not any(connection.scalar(lock) for _ in range(round(timeout / _POLL))):
            raise DeadlineExceeded(what="Waiting for another process to upgrade the database", seconds=timeout)


# --------------------------------------------------------------------------------------------------------- engines


def _sqlite(url: URL, timeout: float) -> Engine:
    made = create_engine(url, connect_args={"timeout": timeout})
    event.listen(made, "connect", lambda connection, _record: _prepare_sqlite(connection, timeout))
    event.listen(made, "begin", _begin_sqlite)
    return made


def _postgres(url: URL, timeout: float) -> Engine:
    milliseconds = round(1000 * timeout)
    options = {
        "lock_timeout": milliseconds,
        "statement_timeout": milliseconds,
        "idle_in_transaction_session_timeout": 1000 * IDLE,
    }
    arguments = {
        "connect_timeout": CONNECT,
        "tcp_user_timeout": milliseconds,  # a server that vanished without a word
        "application_name": "stillframe",
        "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
    }
    return create_engine(url, isolation_level="READ COMMITTED", pool_pre_ping=True, connect_args=arguments)


def _mariadb(url: URL, timeout: float) -> Engine:
    seconds = max(1, round(timeout))
    arguments = {
        "connect_timeout": CONNECT,
        "read_timeout": seconds + CONNECT,  # after the server's own, whose words are better
        "write_timeout": seconds + CONNECT,
        "charset": "utf8mb4",
        "init_command": f"SET SESSION innodb_lock_wait_timeout = {seconds}, max_statement_time = {seconds},"
        f" idle_transaction_timeout = {IDLE}",
    }
    return create_engine(url, isolation_level="READ COMMITTED", pool_pre_ping=True, connect_args=arguments)


def _prepare_sqlite(connection: sqlite3.Connection, timeout: float) -> None:
    connection.isolation_level = None  # the driver begins no transactions: _begin_sqlite does
    _write_ahead(connection, time.monotonic() + timeout)
    for pragma in (
        "synchronous = FULL",  # a commit that was answered survives a power cut
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _write_ahead(connection: sqlite3.Connection, give_up: float) -> None:
    """Turns a new file to a write-ahead log, with which readers and the writer do not wait for each other.

    SQLite itself does not wait there for others who use the file, be it to do the same: it fails at once.
    """
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= give_up:
                raise
        time.sleep(_BUSY_PAUSE * random.uniform(0.5, 1.5))  # noqa: S311 - so that two do not meet again


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later could not be granted the lock any more: take it at the start.
    write = connection.get_execution_options().get("stillframe_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


_ENGINES: dict[str, Callable[[URL, float], Engine]] = {"sqlite": _sqlite, "postgresql": _postgres, "mysql": _mariadb}
