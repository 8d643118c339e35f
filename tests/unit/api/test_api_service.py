"""Faults, health, metrics, and the embedded server on real sockets."""

from __future__ import annotations

import http.client
import logging
import socket
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from stillframe import config
from stillframe.api import server
from stillframe.api.app import application
from stillframe.api.deps import Check
from stillframe.api.server import Served, serve
from stillframe.errors.capture import HypervisorUnavailable
from stillframe.errors.service import AddressInUse, ConfigInvalid, StoreUnusable
from tests.unit.api.api_house import House

IMAGE = "aaaaaaaa-0000-4000-8000-000000000001"


def test_health_names_the_cause_but_not_the_operators_part(house: House) -> None:
    well = house.get(None, "/healthcheck")
    assert (well.status_code, well.json["status"]) == (200, "ok")
    house.checks[0] = Check("hypervisor", HypervisorUnavailable(operator="/secret/path").fault)
    ill = house.get(None, "/healthcheck")
    assert (ill.status_code, ill.json["status"]) == (503, "unhealthy")
    failed, fine = ill.json["checks"]
    assert (failed["name"], failed["status"], failed["code"]) == ("hypervisor", "failed", "hypervisor-unavailable")
    assert fine == {"name": "images", "status": "ok"}
    assert "/secret" not in ill.text


def test_metrics_count_by_route_and_hold_no_ids(house: House) -> None:
    image_id = house.create_image()
    house.get("alice", f"/image/v2/images/{image_id}")
    house.get("alice", f"/nowhere/{image_id}")
    text = house.get("mona", "/metrics").text
    assert 'stillframe_api_requests_total{method="GET",route="/image/v2/images/{image_id}",status="200"} 1.0' in text
    assert 'stillframe_captures{status="pending"} 1.0' in text
    assert "stillframe_images_halves 0.0" in text
    assert "stillframe_images_free_bytes " in text
    assert image_id not in text
    assert house.get("alice", "/metrics").status_code == 403
    assert house.get(None, "/metrics").status_code == 401


def test_an_unforeseen_failure_shows_no_traceback_but_the_log_has_it(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret words")

    monkeypatch.setattr(type(house.deps.servers), "list", broken)
    with caplog.at_level(logging.ERROR):
        answer = house.get("alice", "/v2.1/servers", version="2.45")
    assert answer.status_code == 500
    fault = answer.json["computeFault"]
    assert fault["code"] == 500
    assert fault["request_id"] == answer.headers["x-openstack-request-id"]
    assert "secret" not in answer.text
    assert answer.headers["OpenStack-API-Version"] == "compute 2.45"
    assert fault["request_id"] in caplog.text
    assert "RuntimeError: secret words" in caplog.text
    assert "secret words" in house.get("admin", "/v2.1/servers").json["computeFault"]["operator"]


def test_a_foreseen_failure_keeps_its_operators_part_from_members(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise StoreUnusable(store="images", reason="it is full", operator="/secret/path")

    monkeypatch.setattr(type(house.store), "images", broken)
    answer = house.get("alice", "/image/v2/images")
    assert answer.status_code == 503
    assert answer.json["serviceUnavailable"]["error"] == "store-unusable"
    assert "/secret" not in answer.text
    assert house.get("admin", "/image/v2/images").json["serviceUnavailable"]["operator"] == "/secret/path"


@pytest.mark.parametrize(
    "url", ["/nonsense", "/v2.1/servers/x/nonsense", "/v2.1/os-keypairs", "/v3", "/image/v1/images"]
)
def test_urls_that_are_none(house: House, url: str) -> None:
    answer = house.get("alice", url)
    assert answer.status_code == 404
    assert answer.json["itemNotFound"]["code"] == 404


def test_methods_that_are_none(house: House) -> None:
    answer = house.ask("alice", "PUT", "/v2.1/servers")
    assert answer.status_code == 405
    assert answer.json["badMethod"]["message"]


def test_a_path_forges_no_line_of_the_log(house: House, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        house.get("alice", "/v2.1/servers/x%0areq-1 root DELETE")
    assert "\nreq-1" not in caplog.text


@pytest.mark.parametrize("odd", ["%ff", "%00", "%0d%0aX-Evil:%201", "a%2fb", "%ed%a0%80", "..", "%2e%2e", "a" * 5000])
def test_odd_paths_and_queries_are_refused_and_break_nothing(house: House, odd: str) -> None:
    for url in (
        f"/v2.1/servers/{odd}",
        f"/v2.1/captures/{odd}",
        f"/image/v2/images/{odd}/file",
        f"/v2.1/{odd}/servers",
    ):
        assert house.get("alice", url).status_code in (400, 404), url
    for name in ("name", "marker", "limit", "sort_key", "changes-since", "status", "image"):
        answer = house.get("alice", f"/v2.1/servers?{name}={odd}")
        assert answer.status_code in (200, 400), answer.text
        assert "X-Evil" not in answer.headers


def test_every_request_is_logged_with_its_id(house: House, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        answer = house.get("alice", "/v2.1/servers?name=x")
    assert f"{answer.headers['x-openstack-request-id']} alice GET /v2.1/servers 200" in caplog.text


@pytest.fixture
def served(house: House, settings: config.Settings) -> Iterator[Served]:
    with serve(house.client.app, settings.api) as running:
        yield running


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(str(self._path))


def ask(connection: http.client.HTTPConnection, url: str, **headers: str) -> tuple[int, bytes]:
    connection.request("GET", url, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def tcp(served: Served) -> http.client.HTTPConnection:
    assert served.address is not None
    return http.client.HTTPConnection(*served.address, timeout=20)


def test_the_peer_of_the_unix_socket_is_known(served: Served) -> None:
    status, body = ask(UnixConnection(served.socket), "/v2.1/servers/detail")
    assert status == 200
    assert b"loose" in body


def test_on_tcp_a_password_is_needed(served: Served) -> None:
    assert ask(tcp(served), "/v2.1/servers")[0] == 401
    assert ask(tcp(served), "/v2.1/servers", X_REMOTE_UID="0")[0] == 401
    assert ask(tcp(served), "/")[0] == 200


def test_the_socket_is_its_owners_alone(served: Served) -> None:
    assert stat.S_IMODE(served.socket.stat().st_mode) == 0o600
    assert [entry.name for entry in served.socket.parent.iterdir() if entry.name.startswith(".s")] == []


def test_a_connection_serves_many_requests(served: Served) -> None:
    connection = UnixConnection(served.socket)
    for _ in range(5):
        assert ask(connection, "/healthcheck")[0] == 200
    connection.close()


def test_an_image_comes_whole_through_the_socket(served: Served, house: House) -> None:
    data = bytes(range(256)) * 16384
    house.publish(IMAGE, "large", data)
    assert ask(UnixConnection(served.socket), f"/image/v2/images/{IMAGE}/file") == (200, data)


def test_a_reader_that_goes_away_gives_its_place_back(served: Served, house: House) -> None:
    house.publish(IMAGE, "large", b"x" * (16 << 20))
    for _ in range(house.deps.settings.api.threads):
        connection = UnixConnection(served.socket)
        connection.request("GET", f"/image/v2/images/{IMAGE}/file")
        answer = connection.getresponse()
        assert answer.status in (200, 503)
        answer.read(10)
        answer.close()
        connection.close()
    deadline = time.monotonic() + 20
    while ask(UnixConnection(served.socket), f"/image/v2/images/{IMAGE}/file")[0] != 200:
        assert time.monotonic() < deadline


def test_who_sends_a_request_slowly_is_cut_off(
    house: House, settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.5)
    with serve(house.client.app, settings.api) as running, socket.socket(socket.AF_UNIX) as slow:
        slow.settimeout(20)
        slow.connect(str(running.socket))
        slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        assert slow.recv(4096).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("header", ["X" * 100_000, "x"])
def test_headers_and_bodies_without_end_are_refused(served: Served, header: str) -> None:
    connection = UnixConnection(served.socket)
    connection.putrequest("POST", "/v2.1/captures")
    connection.putheader("X-Large", header)
    connection.putheader("Content-Length", str(10**9))
    connection.endheaders()
    assert connection.getresponse().status == 413


def test_a_stale_socket_is_replaced_and_a_living_one_is_not(house: House, settings: config.Settings) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(settings.api.socket))
    with serve(house.client.app, settings.api) as running:
        assert ask(UnixConnection(running.socket), "/healthcheck")[0] == 200
        with (
            pytest.raises(AddressInUse, match="another service"),
            serve(house.client.app, replace(settings.api, listen=None)),
        ):
            pass
        assert ask(UnixConnection(running.socket), "/healthcheck")[0] == 200
    assert not settings.api.socket.exists()


def test_what_is_no_socket_is_left_alone(house: House, settings: config.Settings) -> None:
    settings.api.socket.write_text("mine")
    with pytest.raises(AddressInUse), serve(house.client.app, settings.api):
        pass
    assert settings.api.socket.read_text() == "mine"


def test_an_address_in_use_is_a_sentence(house: House, settings: config.Settings, served: Served) -> None:
    assert served.address is not None
    taken = replace(settings.api, listen=f"127.0.0.1:{served.address[1]}", socket=settings.api.socket.with_name("b"))
    with pytest.raises(AddressInUse, match="Address already in use"), serve(house.client.app, taken):
        pass


def test_a_group_may_use_the_socket(house: House, settings: config.Settings) -> None:
    with serve(house.client.app, replace(settings.api, socket_group="daemon", listen=None)) as running:
        status = running.socket.stat()
        assert stat.S_IMODE(status.st_mode) == 0o660
        assert status.st_gid != 0
    with pytest.raises(ConfigInvalid), serve(house.client.app, replace(settings.api, socket_group="no-such-group")):
        pass


def test_a_path_longer_than_a_socket_address(house: House, settings: config.Settings, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    with serve(house.client.app, replace(settings.api, socket=deep / "api.sock", listen=None)) as running:
        short = tmp_path / "s"
        short.symlink_to(deep)
        assert ask(UnixConnection(short / "api.sock"), "/healthcheck")[0] == 200
        assert running.socket.is_socket()


def test_stopping_waits_for_no_idle_connection(house: House, settings: config.Settings) -> None:
    with serve(house.client.app, settings.api) as running:
        idle = UnixConnection(running.socket)
        assert ask(idle, "/healthcheck")[0] == 200
        began = time.monotonic()
    assert time.monotonic() - began < 8
    idle.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "api"]


def test_options_that_cannot_be_used(house: House, settings: config.Settings) -> None:
    for wrong in ({"password_file": None}, {"password_file": Path("/nonexistent")}, {"project": ""}):
        options = replace(settings, api=replace(settings.api, **wrong))
        changed = replace(house.deps, settings=options, registry=CollectorRegistry())
        with pytest.raises(ConfigInvalid):
            application(changed)
