"""The API as the cloud's compute endpoint, on real sockets, with something that speaks HTTP where Nova would be."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from stillframe import config
from stillframe.api import app
from stillframe.api.beside import BesideNova
from stillframe.api.policy import Policy
from stillframe.api.server import Served, serve
from stillframe.errors.service import ConfigInvalid, DatabaseUnusable
from stillframe.nova.relay import Relay
from tests.unit.api.api_house import LOOSE, ONE, PASSWORD, TWO, House
from tests.unit.api.some_nova import Received, SomeNova, said, said_json

TASK_STATE = "OS-EXT-STS:task_state"
SIGNED = {
    "Authorization": f"Basic {base64.b64encode(f'alice:{PASSWORD}'.encode()).decode()}",  # for us
    "X-Auth-Token": "secret",  # for Nova
}


@pytest.fixture
def nova() -> Iterator[SomeNova]:
    with SomeNova() as made:
        yield made


@dataclass
class Front:
    """What clients talk to; users sign in with a password here, which Nova would not know."""

    served: Served
    house: House

    def connect(self) -> http.client.HTTPConnection:
        assert self.served.address is not None
        return http.client.HTTPConnection(*self.served.address, timeout=20)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers in lower case, body."""
        connection = self.connect()
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, data, SIGNED | named)
        answer = connection.getresponse()
        told = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        connection.close()
        return told

    def get(self, path: str, **headers: str) -> Any:
        """The document of a 200."""
        status, _, body = self.ask("GET", path, **headers)
        assert status == 200, body
        return json.loads(body)

    def raw(self, request: bytes) -> bytes:
        """All that is answered to these bytes until the connection ends."""
        assert self.served.address is not None
        with socket.create_connection(self.served.address, timeout=20) as sock:
            sock.sendall(request)
            return b"".join(iter(lambda: sock.recv(65536), b""))


@pytest.fixture
def front(house: House, nova: SomeNova) -> Iterator[Front]:
    relay = Relay(lambda: nova.url, ssl.create_default_context(), 2)
    deps = replace(house.deps, relay=relay, registry=CollectorRegistry())
    whole = BesideNova(
        app.application(deps), relay, deps.servers, app._ways(deps, Policy(deps.settings.oslo)), "https://cloud:8774"
    )
    with serve(whole, replace(deps.settings.api, listen="127.0.0.1:0")) as served:
        yield Front(served, house)


def test_what_is_not_ours_is_passed_on_as_it_came(front: Front, nova: SomeNova) -> None:
    nova.script = lambda _: said(b"\x00done", 202, "X-Openstack-Request-Id: req-nova", "Location: http://nova/x")
    path = "/v2.1/p1/os-keypairs/my%20key?user_id=%C3%A4&a&a=2"
    status, headers, body = front.ask(
        "PUT", path, b'{"a":  1}', OpenStack_API_Version="compute 2.104", Content_Type="x/y"
    )
    assert (status, body) == (202, b"\x00done")
    assert (headers["x-openstack-request-id"], headers["location"]) == ("req-nova", "http://nova/x")
    got = nova.last
    assert (got.method, got.target, got.body) == ("PUT", path, b'{"a":  1}')
    assert (got.one("X-Auth-Token"), got.one("Content-Type")) == ("secret", "x/y")
    assert got.one("OpenStack-API-Version") == "compute 2.104"


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"])
def test_other_methods_of_our_urls_are_novas(front: Front, nova: SomeNova, method: str) -> None:
    assert front.ask(method, f"/v2.1/servers/{ONE}")[0] == 200
    assert nova.last.method == method


def test_clients_cannot_speak_for_a_balancer(front: Front, nova: SomeNova) -> None:
    front.ask(
        "GET", "/v2.1/os-hypervisors", X_Forwarded_For="10.0.0.1", X_Forwarded_Proto="ftp", X_Forwarded_Host="evil",
        Forwarded="for=x", Proxy="http://evil", Via="1.1 balancer", Keep_Alive="9", TE="trailers",
    )  # fmt: skip
    got = nova.last
    assert (got.one("Host"), got.one("X-Forwarded-Proto")) == ("cloud:8774", "https")
    assert got.all("Via") == ["1.1 balancer", "1.1 stillframe"]
    names = {name.lower() for name, _ in got.headers}
    assert not names & {"forwarded", "proxy", "x-forwarded-for", "x-forwarded-host", "keep-alive", "te"}


@pytest.mark.parametrize(
    "target",
    [
        "/v2.1//servers", "//evil/v2.1", "/v2.1/../x", "/v2.1/%2e%2E/x", "/v2.1/x/.", "/v2.1/a%2Fb",
        "/v2.1/a%5cb", "/v2.1/a%00b", "/v2.1/a%0d%0aX:y", "http://evil/v2.1/x", "/v2.1/a\x01b",
    ],
)  # fmt: skip
def test_urls_with_two_meanings_are_refused(front: Front, nova: SomeNova, target: str) -> None:
    answer = front.raw(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert nova.received == []


@pytest.mark.parametrize(
    "lengths",
    ["Transfer-Encoding: chunked\r\nContent-Length: 3", "Content-Length: +3", "Content-Length: 1_0"],
)
def test_bodies_with_two_lengths_are_refused(front: Front, nova: SomeNova, lengths: str) -> None:
    answer = front.raw(
        f"POST /v2.1/servers HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lengths}\r\n\r\n0\r\n\r\n".encode()
    )
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert nova.received == []


def test_what_nova_leaves_of_a_body_is_no_request(front: Front, nova: SomeNova) -> None:
    nova.takes_bodies = False
    nova.script = lambda _: said(b"no", 401)
    hidden = b"DELETE /v2.1/hidden HTTP/1.1\r\nHost: x\r\n\r\n"
    request = b"POST /v2.1/servers HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
    last = b"GET /v2.1/last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answers = front.raw(request % (len(hidden), hidden) + last)
    assert answers.count(b"HTTP/1.1 401") == 2
    assert [got.target for got in nova.received] == ["/v2.1/servers", "/v2.1/last"]


def test_a_body_in_chunks_arrives(front: Front, nova: SomeNova) -> None:
    connection = front.connect()
    connection.request("POST", "/v2.1/servers", iter([b'{"server":', b" {}}"]), encode_chunked=True)
    assert connection.getresponse().status == 200
    assert nova.last.body == b'{"server": {}}'


def test_nova_away(front: Front, nova: SomeNova) -> None:
    nova.script = lambda _: b""
    status, headers, body = front.ask("GET", "/v2.1/os-hypervisors")
    fault = json.loads(body)["computeFault"]
    assert (status, fault["code"], fault["error"]) == (502, 502, "nova-unreachable")
    assert headers["x-openstack-request-id"] == fault["request_id"]
    assert "operator" not in fault


def test_an_answer_that_is_cut_off_is_cut_off_for_the_client_too(front: Front, nova: SomeNova) -> None:
    nova.script = lambda _: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
    with pytest.raises(http.client.IncompleteRead):
        front.ask("GET", "/v2.1/os-hypervisors")


def test_our_actions_are_ours_and_the_others_arrive_whole(front: Front, nova: SomeNova) -> None:
    path = f"/v2.1/servers/{ONE}/action"
    status, _, body = front.ask("POST", path, {"createImage": {"name": "x"}}, OpenStack_API_Version="compute 2.45")
    assert (status, list(json.loads(body))) == (202, ["image_id"])
    assert nova.received == []
    for sent in (b'{"os-stop" : null}', b"no JSON", b'["createImage"]', b'{"rebuild": "' + b"x" * 100000 + b'"}'):
        assert front.ask("POST", path, sent)[0] == 200
        assert nova.last.body == sent


def test_an_action_in_chunks_may_be_ours(front: Front, nova: SomeNova) -> None:
    connection = front.connect()
    pieces = iter([b'{"createImage":', b' {"name": "x"}}'])
    connection.request("POST", f"/v2.1/servers/{TWO}/action", pieces, SIGNED, encode_chunked=True)
    assert (connection.getresponse().status, nova.received) == (202, [])


def test_our_own_urls_are_ours(front: Front, nova: SomeNova) -> None:
    assert front.get("/v2.1/captures") == {"captures": []}
    assert front.get("/healthcheck")["status"] == "ok"
    assert front.get("/image/v2/images")["images"] == []
    assert front.ask("GET", "/metrics")[0] == 403
    assert nova.received == []


def test_novas_names_are_none_of_our_urls(front: Front, nova: SomeNova) -> None:
    for path in ("/v2.1/os-keypairs/captures", "/v2.1/flavors/captures/x", "/v2.1/aggregates/servers/detail"):
        assert front.ask("GET", path)[0] == 200
        assert nova.last.target == path


def servers(*ids: str, **states: str) -> Any:
    return {"servers": [{"id": id_, "name": "nova's", TASK_STATE: states.get(id_)} for id_ in ids]}


def test_a_server_that_is_captured_shows_it(front: Front, nova: SomeNova) -> None:
    nova.script = lambda _: said_json(servers(ONE, TWO))
    assert [one[TASK_STATE] for one in front.get("/v2.1/servers/detail")["servers"]] == [None, None]
    front.house.create_image(server=ONE)
    listed = front.get("/v2.1/servers/detail?limit=2", Accept_Encoding="gzip")
    assert [one[TASK_STATE] for one in listed["servers"]] == ["image_snapshot_pending", None]
    assert (nova.last.target, nova.last.one("Accept-Encoding")) == ("/v2.1/servers/detail?limit=2", None)
    nova.script = lambda _: said_json({"server": servers(ONE)["servers"][0]})
    assert front.get(f"/v2.1/servers/{ONE}/")["server"][TASK_STATE] == "image_snapshot_pending"


@pytest.mark.parametrize("document", [{"itemNotFound": {}}, servers(ONE, **{ONE: "deleting"}), [1], {"servers": [1]}])
def test_whatever_else_nova_says_stays(front: Front, nova: SomeNova, document: Any) -> None:
    front.house.create_image(server=ONE)
    nova.script = lambda _: said_json(document)
    assert front.get("/v2.1/servers/detail") == document


def test_our_database_is_none_of_novas_concern(front: Front, nova: SomeNova, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise DatabaseUnusable(reason="it is away")

    monkeypatch.setattr(type(front.house.deps.servers), "task_states", broken)
    nova.script = lambda _: said_json(servers(ONE))
    assert front.get("/v2.1/servers/detail") == servers(ONE)
    monkeypatch.undo()
    front.house.create_image(server=ONE)
    assert front.get("/v2.1/servers/detail") == servers(ONE)  # it is not tried again at once


def action(number: int, name: str = "stop") -> dict[str, Any]:
    return {"action": name, "request_id": f"req-{number}", "start_time": f"2026-01-0{number}T00:00:00.000000"}


def actions(nova: SomeNova, *numbers: int) -> None:
    """Nova has these; it gives two at once."""
    listed = [action(number) for number in sorted(numbers, reverse=True)]

    def answer(got: Received) -> bytes:
        _, _, marker = got.target.partition("marker=")
        first = [each["request_id"] for each in listed].index(marker) + 1 if marker else 0
        more = {"links": [{"rel": "next", "href": "x"}]} if len(listed) > first + 2 else {}
        return said_json({"instanceActions": listed[first : first + 2], **more})

    nova.script = answer


def test_instance_actions_are_novas_and_ours_in_one_list(front: Front, nova: SomeNova) -> None:
    actions(nova, 1, 2, 3)
    image = front.house.create_image(server=ONE)
    path, version = f"/v2.1/servers/{ONE}/os-instance-actions", {"OpenStack_API_Version": "compute 2.84"}
    listed = front.get(path, **version)["instanceActions"]
    assert [each["action"] for each in listed] == ["createImage", "stop", "stop", "stop"]
    assert (nova.last.one("X-Auth-Token"), nova.last.one("OpenStack-API-Version")) == ("secret", "compute 2.84")
    ours = front.house.deps.captures.get(image, None).request_id
    page = front.get(f"{path}?limit=2", **version)
    assert [each["request_id"] for each in page["instanceActions"]] == [ours, "req-3"]
    assert page["links"][0]["href"].endswith("?limit=2&marker=req-3")
    rest = front.get(f"{path}?limit=5&marker={ours}", **version)["instanceActions"]
    assert [each["request_id"] for each in rest] == ["req-3", "req-2", "req-1"]
    assert front.ask("GET", f"{path}?marker=req-9", **version)[0] == 400


def test_one_action_is_whose_it_is(front: Front, nova: SomeNova) -> None:
    image = front.house.create_image(server=ONE)
    ours = front.house.deps.captures.get(image, None).request_id
    path = f"/v2.1/servers/{ONE}/os-instance-actions"
    assert front.get(f"{path}/{ours}")["instanceAction"]["action"] == "createImage"
    assert nova.received == []
    nova.script = lambda _: said_json({"itemNotFound": {"code": 404, "message": "Nova's"}}, 404)
    status, _, body = front.ask("GET", f"{path}/req-1")
    assert (status, json.loads(body)["itemNotFound"]["message"]) == (404, "Nova's")
    assert front.ask("GET", path)[0] == 404


def test_nova_may_know_servers_that_we_do_not(front: Front, nova: SomeNova) -> None:
    actions(nova, 1)
    listed = front.get("/v2.1/servers/55555555-5555-4555-8555-555555555555/os-instance-actions")
    assert [each["request_id"] for each in listed["instanceActions"]] == ["req-1"]


@pytest.mark.parametrize(("told", "announced"), [("2.96", "2.96"), ("2.104", "2.100"), ("", "2.100")])
def test_no_microversion_is_announced_that_one_of_us_lacks(
    front: Front, nova: SomeNova, told: str, announced: str
) -> None:
    nova.script = lambda _: said_json({"version": {"id": "v2.1", "version": told}})
    assert front.get("/v2.1/")["version"]["version"] == announced
    assert front.get("/")["versions"][1]["version"] == announced
    assert len(nova.received) == 1


def test_a_catalogue_that_leads_back_here_is_found_out(front: Front, nova: SomeNova) -> None:
    for path in ("/v2.1/os-hypervisors", f"/v2.1/servers/{ONE}/os-instance-actions"):
        status, _, body = front.ask("GET", path, Via="1.1 stillframe, 1.1 balancer")
        assert (status, json.loads(body)["computeFault"]["error"]) == (508, "nova-is-here")
    assert nova.received == []


def test_the_unix_sockets_peers_are_nobody_nova_knows(front: Front, nova: SomeNova) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(front.served.socket))
        sock.sendall(b"GET /v2.1/servers HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert LOOSE.encode() in answer
    assert nova.received == []


def test_passing_on_needs_keystones_users(tmp_path: Any) -> None:

    file = tmp_path / "stillframe.conf"
    file.write_text("[nova]\npass_through = true\n")
    with pytest.raises(ConfigInvalid, match="pass_through needs"):
        config.load(files=[file])
