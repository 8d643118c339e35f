"""A migrated database of each kind, a host with instances, and the messages of its agent."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.mariadb import MariaDb
from lab.postgres import Postgres
from stillframe.config import Controller
from stillframe.controller.captures import Captures
from stillframe.controller.database import Database
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.controller.servers import Servers
from tests.unit.controller.scene import OPTIONS, Bells, empty

KINDS = ("sqlite", "postgresql", "mariadb")
_NUMBERS = itertools.count()


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which database: every test that uses one runs on each."""
    return str(request.param)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with _directory() as directory, Postgres(directory / "postgres") as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDb]:
    with _directory() as directory, MariaDb(directory / "mariadb") as server:
        yield server


@pytest.fixture(scope="session")
def new_url(kind: str, request: pytest.FixtureRequest) -> Callable[[Path], str]:
    """Makes a database without tables (for SQLite in the given directory); its URL."""
    if kind == "sqlite":
        return lambda directory: f"sqlite:///{directory}/new-{next(_NUMBERS)}.sqlite"
    server: Postgres | MariaDb = request.getfixturevalue({"postgresql": "postgres"}.get(kind, kind))
    return lambda _: server.create(f"new_{next(_NUMBERS)}")


@pytest.fixture(scope="session")
def migrated(new_url: Callable[[Path], str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of an empty database of the present schema."""
    made = new_url(tmp_path_factory.mktemp("migrated"))
    db = Database(made)
    db.upgrade()
    db.close()
    return made


@pytest.fixture
def url(kind: str, migrated: str, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database of the test's own."""
    if kind == "sqlite":
        yield f"sqlite:///{shutil.copy(migrated.removeprefix('sqlite:///'), tmp_path / 'stillframe.sqlite')}"
        return
    yield migrated
    db = Database(migrated)
    db.write(empty)
    db.close()


@pytest.fixture
def db(url: str) -> Iterator[Database]:
    database = Database(url)
    yield database
    database.close()


@pytest.fixture
def settings() -> Controller:
    return OPTIONS


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
    return ControllerEndpoint(db, settings)


@contextmanager
def _directory() -> Iterator[Path]:
    """In memory, where their own user reaches it: pytest's are only root's."""
    with tempfile.TemporaryDirectory(prefix="sft-", dir="/dev/shm") as made:
        directory = Path(made)
        directory.chmod(0o755)
        yield directory
