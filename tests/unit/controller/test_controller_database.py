from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, select

from stillframe.controller import schema
from stillframe.controller.database import Database
from stillframe.errors import DatabaseUnusable, DeadlineExceeded
from stillframe.model import now


def test_migrations_make_exactly_the_tables_of_the_models(db: Database) -> None:
    with db.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, schema.metadata) == []


def test_upgrading_twice_and_from_two_processes_at_once_changes_nothing(tmp_path: Path) -> None:
    databases = [Database(f"sqlite:///{tmp_path}/new.sqlite") for _ in range(4)]
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
    with databases[0].read() as connection:
        assert connection.execute(select(schema.captures)).all() == []
    for database in databases:
        database.close()


def test_a_new_file_is_its_owners_only(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/new.sqlite")
    database.upgrade()
    database.close()
    assert stat.S_IMODE((tmp_path / "new.sqlite").stat().st_mode) == 0o600


def test_a_schema_of_a_newer_release_is_refused(db: Database) -> None:
    with db.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseUnusable) as raised:
        db.upgrade()
    assert "9999" in raised.value.fault.operator


def test_an_unreachable_database_is_a_failure_in_words(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/missing/new.sqlite")
    with pytest.raises(DatabaseUnusable, match="unable to open"), database.read():
        pass


def test_a_failing_transaction_leaves_nothing(db: Database) -> None:
    row = {"name": "one", "agent_run": "r", "sequence": 0, "last_seen": now(), "lost": False}
    with pytest.raises(ZeroDivisionError), db.write() as connection:
        connection.execute(insert(schema.hosts).values(row))
        _ = 1 / 0
    with db.read() as connection:
        assert connection.execute(select(schema.hosts)).all() == []


def test_times_come_back_aware_and_to_the_microsecond(db: Database) -> None:
    at = now()
    with db.write() as connection:
        connection.execute(insert(schema.hosts).values(name="one", agent_run="r", sequence=0, last_seen=at, lost=False))
    with db.read() as connection:
        assert connection.scalar(select(schema.hosts.c.last_seen)) == at


def test_a_writer_does_not_hold_up_readers(db: Database) -> None:
    with db.write() as writer:
        writer.execute(insert(schema.hosts).values(name="one", agent_run="r", sequence=0, last_seen=now(), lost=False))
        with db.read() as reader:
            assert reader.execute(select(schema.hosts)).all() == []


def test_waiting_for_another_writer_has_a_deadline(url: str) -> None:
    here, elsewhere = Database(url, busy_timeout=0.1), Database(url, busy_timeout=0.1)
    with here.write():
        with pytest.raises(DatabaseUnusable, match="locked"), elsewhere.write():
            pass
        with pytest.raises(DeadlineExceeded), here.write():
            pass
    here.close()
    elsewhere.close()
