"""Servers as Nova's clients read them."""

from __future__ import annotations

import json

import pytest

from stillframe.model import VmState
from tests.unit.api.api_house import BASE_IMAGE, BLUE, INSTANCES, LOOSE, ONE, TWO, House, instance


def names(house: House, who: str, query: str, version: str = "2.100") -> list[str]:
    answer = house.get(who, f"/v2.1/servers/detail{query}", version=version)
    assert answer.status_code == 200, answer.text
    return sorted(server["name"] for server in answer.json["servers"])


def test_a_list_has_ids_names_and_links(house: House) -> None:
    servers = house.get("alice", "/v2.1/servers").json["servers"]
    assert {server["name"] for server in servers} == {"web1", "web2"}
    one = next(server for server in servers if server["id"] == ONE)
    assert set(one) == {"id", "name", "links"}
    assert one["links"] == [
        {"rel": "self", "href": f"http://falconframework.org/v2.1/servers/{ONE}"},
        {"rel": "bookmark", "href": f"http://falconframework.org/servers/{ONE}"},
    ]


def test_a_member_sees_no_host_and_no_path(house: House) -> None:
    answer = house.get("alice", f"/v2.1/servers/{ONE}", version="2.100")
    assert "host1" not in answer.text
    assert "/secret/path" not in answer.text
    assert "host_status" not in answer.json["server"]
    assert "OS-EXT-SRV-ATTR:host" not in answer.json["server"]
    assert answer.json["server"]["OS-EXT-SRV-ATTR:hostname"] == "web1"


def test_an_administrator_sees_the_host(house: House) -> None:
    server = house.get("admin", f"/v2.1/servers/{ONE}", version="2.100").json["server"]
    assert server["OS-EXT-SRV-ATTR:host"] == "host1"
    assert server["OS-EXT-SRV-ATTR:instance_name"] == "instance-web1"
    assert server["OS-EXT-SRV-ATTR:root_device_name"] == "/dev/vda"
    assert server["host_status"] == "UP"


def test_show_has_what_the_clients_read(house: House) -> None:
    server = house.get("alice", f"/v2.1/servers/{ONE}", version="2.100").json["server"]
    assert server["status"] == "ACTIVE"
    assert server["tenant_id"] == "red"
    assert server["OS-EXT-STS:vm_state"] == "active"
    assert server["OS-EXT-STS:power_state"] == 1
    assert server["OS-EXT-STS:task_state"] is None
    assert server["image"]["id"] == BASE_IMAGE
    assert server["flavor"] == {
        "vcpus": 2,
        "ram": 128,
        "disk": 2,
        "ephemeral": 0,
        "swap": 0,
        "original_name": "m1.tiny",
        "extra_specs": {},
    }
    assert server["progress"] == 0
    assert house.get("alice", f"/v2.1/servers/{TWO}").json["server"]["image"] == ""


def test_show_names_the_disks_that_a_capture_may_name(house: House) -> None:
    disks = house.get("alice", f"/v2.1/servers/{ONE}").json["server"]["stillframe:disks"]
    assert [(disk["target"], disk["root"]) for disk in disks] == [("vda", True), ("vdb", False)]
    assert disks[0] == {
        "target": "vda",
        "root": True,
        "kind": "file",
        "format": "qcow2",
        "size": (1 << 30) + 1,
        "read_only": False,
    }


@pytest.mark.parametrize(
    ("field", "since"),
    [
        ("locked", 9),
        ("description", 19),
        ("tags", 26),
        ("trusted_image_certificates", 63),
        ("server_groups", 71),
        ("locked_reason", 73),
        ("OS-EXT-SRV-ATTR:hostname", 90),
        ("pinned_availability_zone", 96),
        ("scheduler_hints", 100),
    ],
)
def test_a_field_comes_with_its_microversion(house: House, field: str, since: int) -> None:
    for minor in (since - 1, since):
        server = house.get("alice", f"/v2.1/servers/{ONE}", version=f"2.{minor}").json["server"]
        assert (field in server) is (minor >= since)


def test_the_flavor_is_a_link_before_2_47(house: House) -> None:
    server = house.get("alice", f"/v2.1/servers/{ONE}", version="2.46").json["server"]
    assert server["flavor"]["id"] == "m1.tiny"
    assert server["flavor"]["links"][0]["href"].endswith("/flavors/m1.tiny")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?name=web", ["web1", "web2"]),
        ("?name=^web1$", ["web1"]),
        ("?name=WEB1", ["web1"]),
        ("?status=SHUTOFF", ["web2"]),
        ("?status=active", ["web1"]),
        ("?status=active&status=shutoff", ["web1", "web2"]),
        ("?status=BUILD", []),
        ("?vm_state=stopped", ["web2"]),
        ("?deleted=False", ["web1", "web2"]),
        ("?deleted=True", ["web1", "web2"]),
        ("?host=elsewhere", ["web1", "web2"]),
        ("?ip=10.0.0.1", ["web1", "web2"]),
        ("?tags=x", []),
        ("?not-tags=x", ["web1", "web2"]),
        ("?locked=True", []),
        ("?changes-since=2000-01-01T00:00:00Z", ["web1", "web2"]),
        ("?changes-before=2000-01-01T00:00:00Z", []),
        (f"?image={BASE_IMAGE}", ["web1"]),
        ("?flavor=m1.tiny", ["web1"]),
        ("?flavor=2c-128m", ["web2"]),
        ("?flavor=nonsense", []),
    ],
)
def test_filters_of_a_member(house: House, query: str, expected: list[str]) -> None:
    assert names(house, "alice", query) == expected


def test_filters_of_an_administrator(house: House) -> None:
    assert names(house, "admin", "?all_tenants=1&host=elsewhere") == []
    assert names(house, "admin", "?all_tenants=1&host=host1&project_id=blue") == ["blue"]
    assert names(house, "admin", "?all_tenants=1&deleted=True") == []
    assert names(house, "admin", "?all_tenants=") == ["blue", "loose", "web1", "web2"]


def test_an_administrator_sees_what_has_no_owner_without_asking_for_all_projects(house: House) -> None:
    assert "loose" in names(house, "admin", "?deleted=False")


@pytest.mark.parametrize(
    ("query", "version", "status"),
    [
        ("?all_tenants=1", "2.1", 403),
        ("?nonsense=1", "2.75", 400),
        ("?nonsense=1", "2.74", 200),
        ("?status=nonsense", "2.38", 400),
        ("?status=nonsense", "2.37", 200),
        ("?limit=-1", "2.1", 400),
        ("?limit=x", "2.1", 400),
        ("?marker=nonsense", "2.1", 400),
        (f"?marker={BLUE}", "2.1", 400),
        ("?sort_key=nonsense", "2.1", 400),
        ("?sort_key=host", "2.1", 403),
        ("?sort_key=uuid&sort_dir=sideways", "2.1", 400),
        ("?changes-since=yesterday", "2.1", 400),
        ("?name=(a%2B)%2B$", "2.1", 400),
    ],
)
def test_bad_queries(house: House, query: str, version: str, status: int) -> None:
    answer = house.get("alice", f"/v2.1/servers{query}", version=version)
    assert answer.status_code == status, answer.text
    if query == "?status=nonsense" and status == 200:
        assert answer.json["servers"] == []


def test_pages_follow_their_links_to_the_end(house: House) -> None:
    house.report(*(instance(f"{n:08d}-0000-4000-8000-000000000000", f"vm{n}", "red") for n in range(7)))
    url, seen = "/v2.1/servers?limit=3&sort_key=display_name&sort_dir=asc&name=vm", []
    for _ in range(4):
        answer = house.get("alice", url, version="2.75")
        seen += [server["name"] for server in answer.json["servers"]]
        if "servers_links" not in answer.json:
            break
        (link,) = answer.json["servers_links"]
        assert link["rel"] == "next"
        url = link["href"].removeprefix("http://falconframework.org")
    assert seen == [f"vm{n}" for n in range(7)]


def test_a_limit_of_nothing_is_an_empty_list(house: House) -> None:
    assert house.get("alice", "/v2.1/servers?limit=0").json == {"servers": []}


def test_a_name_is_not_an_id(house: House) -> None:
    assert house.get("alice", "/v2.1/servers/web1", version="2.96").status_code == 404


def test_every_vm_state_has_a_status(house: House) -> None:
    for state in VmState:
        house.report(*INSTANCES[1:], instance(ONE, "web1", "red", vm_state=state))
        assert house.get("alice", f"/v2.1/servers/{ONE}").json["server"]["status"]


def test_links_name_the_project_where_the_request_did(house: House) -> None:
    server = house.get("alice", f"/v2.1/red/servers/{ONE}").json["server"]
    assert server["links"][0]["href"].endswith(f"/v2.1/red/servers/{ONE}")
    wrong = house.get("alice", f"/v2.1/blue/servers/{ONE}")
    assert wrong.status_code == 400
    assert "Malformed request URL" in wrong.json["badRequest"]["message"]


def test_v2_is_served_without_microversions(house: House) -> None:
    for root in ("/v2", "/v2/red"):
        answer = house.get("alice", f"{root}/servers/{ONE}", version="2.100")
        assert answer.status_code == 200
        assert "locked" not in answer.json["server"]
        assert "OpenStack-API-Version" not in answer.headers


def test_a_thousand_servers_are_one_page(house: House) -> None:
    house.report(*(instance(f"{n:08d}-0000-4000-8000-000000000000", f"vm{n}", "red") for n in range(1001)))
    answer = house.get("alice", "/v2.1/servers/detail", version="2.100")
    assert len(answer.json["servers"]) == 1000
    assert answer.json["servers_links"]


def test_unowned_servers_are_nobodys_but_the_administrators(house: House) -> None:
    assert house.get("admin", f"/v2.1/servers/{LOOSE}").status_code == 200
    assert house.get("alice", f"/v2.1/servers/{LOOSE}").status_code == 404
    assert "loose" not in json.dumps(house.get("alice", "/v2.1/servers").json)
