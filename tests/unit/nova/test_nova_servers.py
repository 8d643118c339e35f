"""Nova's servers as Stillframe asks for them, over real sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from stillframe import config
from stillframe.errors.service import ConfigInvalid
from stillframe.nova.access import Access
from stillframe.nova.servers import NovaServers, Standing
from tests.unit.api.some_nova import SomeNova, said, said_json

SERVER = "11111111-1111-4111-8111-111111111111"
SHOWN = {
    "id": SERVER,
    "OS-EXT-STS:vm_state": "active",
    "OS-EXT-STS:task_state": "migrating",
    "locked": True,
    "locked_reason": "x",
}


@pytest.fixture
def nova() -> Iterator[SomeNova]:
    with SomeNova() as made:
        yield made


def settings(tmp_path: Path, text: str) -> config.Settings:
    file = tmp_path / "stillframe.conf"
    file.write_text(text)
    return config.load(files=[file])


@pytest.fixture
def servers(nova: SomeNova, tmp_path: Path) -> NovaServers:
    where = f"[nova]\nendpoint_override = {nova.url}/compute/v2.1/%(project_id)s\n"
    return NovaServers(Access(settings(tmp_path, where + "[service_user]\nauth_type = none\n")))


def test_how_a_server_stands(servers: NovaServers, nova: SomeNova) -> None:
    nova.script = lambda _: said_json({"server": SHOWN})
    assert servers.standing(SERVER) == Standing("active", "migrating", locked=True, locked_reason="x")
    assert (nova.last.method, nova.last.target) == ("GET", f"/compute/v2.1/servers/{SERVER}")
    assert nova.last.one("OpenStack-API-Version") == "compute 2.73"


def test_locking_and_unlocking(servers: NovaServers, nova: SomeNova) -> None:
    nova.script = lambda _: said(b"", 202)
    servers.lock(SERVER, "why")
    assert json.loads(nova.last.body) == {"lock": {"locked_reason": "why"}}
    servers.unlock(SERVER)
    assert json.loads(nova.last.body) == {"unlock": None}
    assert (nova.last.method, nova.last.target) == ("POST", f"/compute/v2.1/servers/{SERVER}/action")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (said_json({}, 404), "instance-not-found"),
        (said_json({}, 403), "nova-forbids"),
        (said_json({}, 401), "nova-forbids"),
        (said_json({}, 500), "nova-failed"),
        (said_json({"server": {}}), "nova-failed"),
        (said(b"<html>"), "nova-failed"),
        (b"", "nova-unreachable"),
    ],
)
def test_what_stands_against_it(servers: NovaServers, nova: SomeNova, answer: bytes, code: str) -> None:
    nova.script = lambda _: answer
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each its own
        servers.standing(SERVER)
    assert getattr(caught.value, "code", "") == code


@pytest.mark.parametrize(
    ("endpoint", "root"),
    [
        ("http://nova:8774/v2.1", "http://nova:8774"),
        ("http://nova/compute/v2.1/%(tenant_id)s/", "http://nova/compute"),
        ("http://nova/compute/v2/", "http://nova/compute"),
        ("http://v2.example/", "http://v2.example"),
    ],
)
def test_where_nova_is_without_a_version(tmp_path: Path, endpoint: str, root: str) -> None:
    assert Access(settings(tmp_path, f"[nova]\nendpoint_override = {endpoint}\n")).root() == root


def test_a_catalogue_needs_somebody_to_read_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="service_user"):
        Access(settings(tmp_path, "[nova]\n"))
