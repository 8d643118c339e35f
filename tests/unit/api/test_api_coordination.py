"""createImage where Nova is asked first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from falcon.testing import TestClient
from prometheus_client import CollectorRegistry

from stillframe import config
from stillframe.api.app import application
from stillframe.api.coordination import Coordination
from stillframe.controller.novalocks import reason
from stillframe.nova.access import Access
from stillframe.nova.servers import NovaServers
from tests.unit.api.api_house import ONE, House
from tests.unit.api.some_nova import Received, SomeNova, said, said_json


class NovaOfOne(SomeNova):
    """It has one server, whose record may be changed."""

    def __enter__(self) -> NovaOfOne:
        super().__enter__()
        self.record: dict[str, object] = {
            "OS-EXT-STS:vm_state": "active",
            "OS-EXT-STS:task_state": None,
            "locked": False,
            "locked_reason": None,
        }
        self.script = self.answer
        return self

    def answer(self, got: Received) -> bytes:
        return said_json({"server": self.record}) if got.method == "GET" else said(b"", 202)

    @property
    def locks(self) -> list[str]:
        return [json.loads(got.body)["lock"]["locked_reason"] for got in self.received if got.method == "POST"]


@pytest.fixture
def nova() -> Iterator[NovaOfOne]:
    with NovaOfOne() as made:
        yield made


@pytest.fixture(params=["fail"])
def asking(house: House, nova: NovaOfOne, tmp_path: Path, request: pytest.FixtureRequest) -> House:
    file = tmp_path / "nova.conf"
    file.write_text(f"[nova]\nendpoint_override = {nova.url}/v2.1\n[service_user]\nauth_type = none\n")
    coordination = Coordination(NovaServers(Access(config.load(files=[file]))), request.param)
    deps = replace(house.deps, coordination=coordination, registry=CollectorRegistry())
    return replace(house, deps=deps, client=TestClient(application(deps)))


def test_the_server_is_locked_with_a_reason_that_names_us(asking: House, nova: NovaOfOne) -> None:
    image_id = asking.create_image()
    assert nova.locks == [reason(image_id)]
    assert asking.begin(image_id)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("OS-EXT-STS:task_state", "migrating", "task_state migrating"),
        ("OS-EXT-STS:vm_state", "resized", "vm_state resized"),
    ],
)
def test_a_server_that_nova_is_busy_with_is_refused(
    asking: House, nova: NovaOfOne, name: str, value: str, words: str
) -> None:
    nova.record[name] = value
    answer = asking.post("alice", f"/v2.1/servers/{ONE}/action", {"createImage": {"name": "x"}})
    assert answer.status_code == 409
    expected = f"Cannot 'createImage' instance {ONE} while it is in {words}"
    assert answer.json["conflictingRequest"]["message"] == expected
    assert (nova.locks, asking.deps.captures.list()) == ([], [])


def test_a_lock_of_somebody_elses_stays_and_stops_nobody(asking: House, nova: NovaOfOne) -> None:
    nova.record |= {"locked": True, "locked_reason": "mine"}
    assert asking.begin(asking.create_image())
    assert nova.locks == []


def test_a_server_that_nova_does_not_know(asking: House, nova: NovaOfOne) -> None:
    nova.script = lambda _: said_json({}, 404)
    answer = asking.post("alice", f"/v2.1/servers/{ONE}/action", {"createImage": {"name": "x"}})
    assert answer.status_code == 404


def test_without_nova_a_capture_is_refused(asking: House, nova: NovaOfOne) -> None:
    nova.script = lambda _: b""
    answer = asking.post("alice", f"/v2.1/servers/{ONE}/action", {"createImage": {"name": "x"}})
    assert (answer.status_code, answer.json["computeFault"]["error"]) == (502, "nova-unreachable")
    assert asking.deps.captures.list() == []


@pytest.mark.parametrize("asking", ["go_on"], indirect=True)
def test_without_nova_a_capture_goes_on_where_it_may_and_says_so(asking: House, nova: NovaOfOne) -> None:
    nova.script = lambda _: b""
    capture = asking.deps.captures.get(asking.create_image(), None)
    assert capture.images[0].note.startswith("the server is not locked: Nova cannot be reached")


@pytest.mark.parametrize("asking", ["go_on"], indirect=True)
def test_a_nova_that_lets_nobody_in_is_not_away(asking: House, nova: NovaOfOne) -> None:
    nova.script = lambda _: said_json({}, 403)
    answer = asking.post("alice", f"/v2.1/servers/{ONE}/action", {"createImage": {"name": "x"}})
    assert answer.json["computeFault"]["error"] == "nova-forbids"


def test_a_lock_that_is_not_made_ends_the_capture(asking: House, nova: NovaOfOne) -> None:
    nova.script = lambda got: said_json({"server": nova.record}) if got.method == "GET" else b""
    answer = asking.post("alice", f"/v2.1/servers/{ONE}/action", {"createImage": {"name": "x"}})
    assert answer.status_code == 502
    [capture] = asking.deps.captures.list()
    assert capture.fault is not None
    assert (capture.status, capture.fault.code) == ("failed", "nova-unreachable")
    assert asking.deps.servers.get(ONE, None).task_state is None
