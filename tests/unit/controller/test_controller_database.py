from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, insert, select

from stillframe.controller import schema
from stillframe.controller.database import Database
from stillframe.errors.capture import DeadlineExceeded
from stillframe.errors.service import DatabaseUnusable
from stillframe.model import now

HOST: dict[str, Any] = {"name": "one", "agent_run": "r", "sequence": 0, "last_seen": now(), "lost": False}


def add_host(connection: Connection, /, **changes: Any) -> None:
    connection.execute(insert(schema.hosts).values(HOST | changes))


def hosts(connection: Connection) -> list[str]:
    return list(connection.scalars(select(schema.hosts.c.name)))


def test_migrations_make_exactly_the_tables_of_the_models(db: Database) -> None:
    def differences(connection: Connection) -> Any:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return compare_metadata(context, schema.metadata)

    assert db.read(differences) == []


def test_upgrading_twice_and_from_several_processes_at_once_changes_nothing(
    new_url: Callable[[Path], str], tmp_path: Path
) -> None:
    url = new_url(tmp_path)
    databases = [Database(url) for _ in range(4)]
    failures: list[BaseException] = []

    def upgrade(database: Database) -> None:
        try:
            database.upgrade()
            database.upgrade()
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=upgrade, args=(database,)) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert databases[0].read(lambda connection: connection.execute(select(schema.captures)).all()) == []
    for database in databases:
        database.close()


def test_an_upgrade_waits_for_another_process_that_is_making_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite fails at once when a file that another writes to is to get its write-ahead log."""
    path = tmp_path / "new.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr("time.sleep", lambda _: other.rollback())
        database = Database(f"sqlite:///{path}")
        database.upgrade()
        assert not other.in_transaction
    assert database.read(hosts) == []
    database.close()


def test_an_upgrade_that_another_process_holds_up_for_too_long_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stillframe.controller.database.UPGRADE_TIMEOUT", 0.05)
    path = tmp_path / "new.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        database = Database(f"sqlite:///{path}")
        with pytest.raises(DatabaseUnusable) as raised:
            database.upgrade()
    assert "locked" in raised.value.fault.operator
    database.close()


def test_an_upgrade_that_was_interrupted_is_finished_by_the_next(
    new_url: Callable[[Path], str], tmp_path: Path
) -> None:
    """As far as MariaDB had got with it: its tables stay, and no version is on record."""
    db = Database(new_url(tmp_path))
    db.upgrade()
    db.write(lambda connection: connection.exec_driver_sql("DELETE FROM alembic_version"))
    db.upgrade()
    assert db.read(hosts) == []
    db.close()


def test_a_new_file_is_its_owners_only(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/new.sqlite")
    database.upgrade()
    database.close()
    assert stat.S_IMODE((tmp_path / "new.sqlite").stat().st_mode) == 0o600


def test_a_schema_of_a_newer_release_is_refused(new_url: Callable[[Path], str], tmp_path: Path) -> None:
    db = Database(new_url(tmp_path))
    db.upgrade()
    db.write(lambda connection: connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseUnusable) as raised:
        db.upgrade()
    assert "9999" in raised.value.fault.operator
    db.close()


def test_an_unreachable_database_is_a_failure_in_words(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/missing/new.sqlite")
    with pytest.raises(DatabaseUnusable, match="unable to open"):
        database.read(hosts)


def test_a_failing_transaction_leaves_nothing(db: Database) -> None:
    def fail(connection: Connection) -> float:
        add_host(connection)
        return 1 / 0

    with pytest.raises(ZeroDivisionError):
        db.write(fail)
    assert db.read(hosts) == []


def test_times_come_back_aware_and_to_the_microsecond(db: Database) -> None:
    at = now().replace(microsecond=123456)
    db.write(add_host, last_seen=at)
    assert db.read(lambda connection: connection.scalar(select(schema.hosts.c.last_seen))) == at


def test_a_writer_does_not_hold_up_readers(db: Database) -> None:
    def write(connection: Connection) -> list[str]:
        add_host(connection)
        return db.read(hosts)

    assert db.write(write) == []


def test_names_that_differ_in_case_or_a_trailing_blank_are_different(db: Database) -> None:
    names = ["blue", "Blue", "blue ", "bl\u00fce", "\U0001f600"]
    for name in names:
        db.write(add_host, name=name)
    for name in names:
        query = select(schema.hosts.c.name).where(schema.hosts.c.name == name)
        assert db.read(lambda connection, query=query: connection.scalars(query).all()) == [name]  # type: ignore[misc]


def test_waiting_for_sqlites_other_writer_has_a_deadline(tmp_path: Path) -> None:
    here, elsewhere = (Database(f"sqlite:///{tmp_path}/db", busy_timeout=0.1) for _ in range(2))

    def wait(_: Connection) -> None:
        with pytest.raises(DatabaseUnusable, match="locked"):
            elsewhere.write(hosts)
        with pytest.raises(DeadlineExceeded):
            here.write(hosts)

    here.write(wait)
    here.close()
    elsewhere.close()
