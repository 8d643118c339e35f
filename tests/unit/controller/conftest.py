"""A migrated database, a host with instances, and the messages of its agent."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from stillframe.config import Controller
from stillframe.controller.captures import Captures
from stillframe.controller.database import Database
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.controller.servers import Servers
from tests.unit.controller.scene import Bells


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database file of the present schema."""
    path = tmp_path_factory.mktemp("migrated") / "stillframe.sqlite"
    db = Database(f"sqlite:///{path}")
    db.upgrade()
    db.close()
    return path


@pytest.fixture
def url(migrated: Path, tmp_path: Path) -> str:
    """The URL of an empty database of the test's own."""
    return f"sqlite:///{shutil.copy(migrated, tmp_path / 'stillframe.sqlite')}"


@pytest.fixture
def db(url: str) -> Iterator[Database]:
    database = Database(url)
    yield database
    database.close()


@pytest.fixture
def settings() -> Controller:
    return Controller(host_timeout=60, gone_grace=60, keep_finished=90)


@pytest.fixture
def bells() -> Bells:
    return Bells()


@pytest.fixture
def captures(db: Database, bells: Bells) -> Captures:
    return Captures(db, bells)


@pytest.fixture
def servers(db: Database) -> Servers:
    return Servers(db)


@pytest.fixture
def endpoint(db: Database, settings: Controller) -> ControllerEndpoint:
    return ControllerEndpoint(db)
