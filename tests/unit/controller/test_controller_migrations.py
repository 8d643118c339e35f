"""A database of each earlier release, with data, is brought to this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from stillframe.controller import schema
from stillframe.controller.captures import Captures
from stillframe.controller.database import MIGRATIONS, Database
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.messaging.contract import HostReport
from stillframe.model import CaptureStatus
from tests.unit.controller.scene import OPTIONS, Bells

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
CAPTURE = {
    "instance_id": "i",
    "host": "one",
    "request_id": "req",
    "name": "golden",
    "kind": "snapshot",
    "rotated": True,
    "retired": False,
    "phase": "waiting",
    "attempt": 0,
    "created_at": AT.replace(tzinfo=None),
    "updated_at": AT.replace(tzinfo=None),
    "images": '[{"id":"x","name":"golden"}]',
    "wishes": "{}",
}

HOST = {"name": "one", "agent_run": "run-1", "sequence": 7, "last_seen": AT.replace(tzinfo=None), "lost": False}


@pytest.fixture
def old(new_url: Callable[[Path], str], tmp_path: Path) -> Iterator[Database]:
    """A database of the first release: a host, a capture that waits, and one that has ended."""
    db = Database(new_url(tmp_path))
    db.write(_first_release)
    yield db
    db.close()


def _first_release(connection: Connection) -> None:
    configuration = alembic.config.Config()
    configuration.set_main_option("script_location", str(MIGRATIONS))
    configuration.attributes["connection"] = connection
    alembic.command.upgrade(configuration, "0001")
    _insert(connection, "hosts", HOST)
    _insert(connection, "captures", CAPTURE | {"id": "waiting", "status": "pending"})
    ended = {"id": "ended", "status": "completed", "phase": "ended", "ended_at": AT.replace(tzinfo=None)}
    _insert(connection, "captures", CAPTURE | ended)


def _insert(connection: Connection, table: str, row: dict[str, Any]) -> None:
    names = ", ".join(row)
    values = ", ".join(f":{name}" for name in row)
    connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), row)  # noqa: S608


def test_an_older_database_becomes_this_releases_with_all_that_is_in_it(old: Database) -> None:
    old.upgrade()
    captures = Captures(old, Bells())
    found = {capture.id: capture for capture in captures.list()}
    assert {id_: capture.status for id_, capture in found.items()} == {
        "waiting": CaptureStatus.PENDING,
        "ended": CaptureStatus.COMPLETED,
    }
    assert found["ended"].created_at == found["ended"].ended_at == AT
    orders = ControllerEndpoint(old, OPTIONS).heartbeat(HostReport("one", "run-1", sequence=8, agent_id="a")).orders
    assert [order.capture_id for order in orders] == ["waiting"]


def test_an_older_database_ends_up_with_exactly_the_tables_of_the_models(old: Database) -> None:
    def differences(connection: Connection) -> Any:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return compare_metadata(context, schema.metadata)

    old.upgrade()
    assert old.read(differences) == []


def test_the_release_before_goes_on_writing_while_it_is_replaced(old: Database) -> None:
    """Apis and controllers are upgraded one after the other: what the first release did works on every schema."""
    old.upgrade()
    old.write(_insert, "captures", CAPTURE | {"id": "later", "status": "pending"})
    old.write(_insert, "hosts", HOST | {"name": "two"})
    assert {capture.id for capture in Captures(old, Bells()).list()} == {"waiting", "ended", "later"}
