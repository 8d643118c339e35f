"""A house for each test; the schema is made once and copied."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest
from falcon.testing import TestClient

from stillframe import config
from stillframe.api.app import application
from stillframe.api.deps import Check, Deps
from stillframe.controller.captures import Captures
from stillframe.controller.database import Database
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.controller.hosts import Hosts
from stillframe.controller.servers import Servers
from stillframe.images.directory import DirectoryStore
from stillframe.messaging.inprocess import InProcess
from tests.unit.api.api_house import PASSWORD, USERS, House


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("schema") / "empty.sqlite"
    db = Database(f"sqlite:///{path}")
    db.upgrade()
    db.close()
    return path


@pytest.fixture(scope="session")
def password_lines() -> str:
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(rounds=4)).decode()
    return "".join(f"{name}:{hashed}:{project}:{roles}\n" for name, (project, roles) in USERS.items())


@pytest.fixture
def settings(tmp_path: Path, password_lines: str) -> config.Settings:
    passwords = tmp_path / "passwords"
    passwords.write_text(password_lines)
    file = tmp_path / "stillframe.conf"
    file.write_text(f"[DEFAULT]\nstate_dir = {tmp_path}\n[api]\nlisten = 127.0.0.1:0\npassword_file = {passwords}\n")
    return config.load(files=[file])


@pytest.fixture
def house(settings: config.Settings, empty_database: Path) -> Iterator[House]:
    shutil.copy(empty_database, settings.service.state_dir / "stillframe.sqlite")
    db = Database(settings.database.connection)
    store = DirectoryStore(settings.images.directory)
    store.prepare()
    checks = [Check("hypervisor"), Check("images")]
    deps = Deps(settings, Servers(db), Captures(db, InProcess()), Hosts(db), store, lambda: checks, int)
    endpoint = ControllerEndpoint(db, settings.controller)
    made = House(deps, db, endpoint, store, checks, TestClient(application(deps)))
    made.report()
    yield made
    db.close()
