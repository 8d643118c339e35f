"""A database that refuses, breaks off, dies and comes back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select, text, update

from lab.daemon import Daemon
from lab.mariadb import MariaDb
from lab.postgres import PASSWORD, Postgres
from lab.wait import until
from stillframe.controller import schema
from stillframe.controller.captures import Captures
from stillframe.controller.database import Database
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.controller.servers import Servers
from stillframe.errors.request import BadRequest, InstanceNotFound
from stillframe.errors.service import ConfigInvalid, DatabaseUnusable
from stillframe.model import now
from tests.unit.controller.scene import instance, inventory, request

on_servers = pytest.mark.parametrize("kind", ["postgresql", "mariadb"], indirect=True, scope="session")
OWN_CONNECTION = {"postgresql": "SELECT pg_backend_pid()", "mariadb": "SELECT CONNECTION_ID()"}


@pytest.fixture
def server(kind: str, request: pytest.FixtureRequest) -> Daemon:
    made: Postgres | MariaDb = request.getfixturevalue({"postgresql": "postgres"}.get(kind, kind))
    return made


@pytest.fixture
def away(server: Daemon) -> Iterator[Daemon]:
    """A server that is started again whatever the test did to it."""
    yield server
    server.restart()


def add_host(connection: Connection, name: str) -> None:
    row = {"name": name, "agent_run": "r", "sequence": 0, "last_seen": now(), "lost": False}
    connection.execute(insert(schema.hosts).values(row))


def hosts(connection: Connection) -> list[str]:
    return list(connection.scalars(select(schema.hosts.c.name).order_by(schema.hosts.c.name)))


def break_off(connection: Connection, kind: str, server: Daemon) -> None:
    """The connection is ended from the server's side, as by a proxy or an administrator."""
    number = connection.scalar(text(OWN_CONNECTION[kind]))
    statement = f"SELECT pg_terminate_backend({number})" if kind == "postgresql" else f"KILL {number}"
    assert isinstance(server, Postgres | MariaDb)
    server.sql(statement)


@on_servers
def test_a_transaction_whose_connection_breaks_off_runs_again(db: Database, kind: str, server: Daemon) -> None:
    runs: list[int] = []

    def work(connection: Connection) -> None:
        add_host(connection, "one")
        runs.append(1)
        if len(runs) == 1:
            break_off(connection, kind, server)
        add_host(connection, "two")

    db.write(work)
    assert len(runs) == 2
    assert db.read(hosts) == ["one", "two"]


def test_an_accept_that_runs_again_is_one_capture(captures: Captures, endpoint: ControllerEndpoint) -> None:
    """As it does when its commit got through and the answer to that did not."""
    web = instance()
    endpoint.heartbeat(inventory(web))
    wanted = request(web)
    captures.accept(wanted)
    assert captures.accept(wanted).id == wanted.images[0].id
    assert len(captures.list()) == 1


@on_servers
def test_of_two_transactions_that_wait_for_each_other_both_succeed(db: Database, kind: str) -> None:
    for name in ("one", "two"):
        db.write(add_host, name)
    met = threading.Barrier(2)
    runs: list[str] = []

    def lock(connection: Connection, first: str, second: str) -> None:
        runs.append(first)
        for name in (first, second):
            connection.execute(update(schema.hosts).where(schema.hosts.c.name == name).values(agent_run=first))
            if len(runs) <= 2 and name == first:
                met.wait(30)

    threads = [threading.Thread(target=db.write, args=(lock, *order)) for order in (("one", "two"), ("two", "one"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(runs) == 3
    both = db.read(lambda connection: connection.scalars(select(schema.hosts.c.agent_run)).all())
    assert len(set(both)) == 1


@on_servers
def test_a_server_that_is_killed_and_comes_back_is_waited_for_and_has_lost_nothing(
    db: Database, captures: Captures, endpoint: ControllerEndpoint, away: Daemon, kind: str
) -> None:
    machines = [instance(f"vm{number}") for number in range(20)]
    endpoint.heartbeat(inventory(*machines))
    accepted: list[str] = []
    thread = threading.Thread(target=lambda: accepted.extend(captures.accept(request(one)).id for one in machines))
    thread.start()
    until(lambda: accepted, 30, "the first capture")
    away.restart()
    thread.join(60)
    assert len(accepted) == len(machines)
    assert {capture.id for capture in captures.list()} == set(accepted)


@on_servers
def test_a_server_that_stays_away_is_an_error_in_words_within_the_patience(
    url: str, away: Daemon, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    db = Database(url, patience=0.3)
    db.read(hosts)
    away.stop()
    began = time.monotonic()
    with caplog.at_level(logging.DEBUG), pytest.raises(DatabaseUnusable) as raised:
        db.write(add_host, "one")
    assert time.monotonic() - began < 5
    assert raised.value.fault.operator
    assert PASSWORD not in caplog.text + str(raised.value) + repr(raised.value.__cause__)
    away.start()
    db.write(add_host, "one")
    assert db.read(hosts) == ["one"]
    db.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense://user:secret@", "nonsense"),
        ("secret", "no URL"),
        ("postgresql+psycopg2://user:secret@host/db", "psycopg2"),
        ("oracle://user:secret@host/db", "oracle"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str, words: str) -> None:
    with pytest.raises(ConfigInvalid, match=words) as raised:
        Database(url)
    assert "secret" not in str(raised.value)


def test_a_value_that_the_database_cannot_hold_is_refused_at_once(servers: Servers) -> None:
    began = time.monotonic()
    with pytest.raises((BadRequest, InstanceNotFound)):
        servers.get("\0", None)
    assert time.monotonic() - began < 5


@on_servers
def test_an_upgrade_waits_for_a_server_that_starts(
    new_url: Callable[[Path], str], tmp_path: Path, away: Daemon, kind: str
) -> None:
    db = Database(new_url(tmp_path))
    away.stop()
    thread = threading.Thread(target=db.upgrade)
    thread.start()
    away.start()
    thread.join(60)
    assert db.read(hosts) == []
    db.close()
