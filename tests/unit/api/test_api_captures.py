"""Captures and instance actions."""

from __future__ import annotations

from typing import Any

import pytest

from stillframe.model import Fault, Phase, Progress
from tests.unit.api.api_house import ONE, TWO, House

FAULT = Fault("no-space", "The store has too little room.", "Free some.", "/secret/path on host1", 507)


def actions(house: House, who: str = "alice", server: str = ONE, version: str = "2.100", query: str = "") -> Any:
    answer = house.get(who, f"/v2.1/servers/{server}/os-instance-actions{query}", version=version)
    assert answer.status_code == 200, answer.text
    return answer.json


def action(house: House, capture_id: str, who: str = "alice", version: str = "2.100") -> Any:
    request_id = house.deps.captures.get(capture_id, None).request_id
    answer = house.get(who, f"/v2.1/servers/{ONE}/os-instance-actions/{request_id}", version=version)
    assert answer.status_code == 200, answer.text
    return answer.json["instanceAction"]


def test_a_capture_tells_its_whole_story(house: House) -> None:
    capture_id = house.create_image()
    house.complete(capture_id)
    capture = house.get("alice", f"/v2.1/captures/{capture_id}").json["capture"]
    assert capture["status"] == "completed"
    assert (capture["source"], capture["transfer"]) == ("backup", "directory")
    assert capture["refused"] == ["reflink+clone: no"]
    assert capture["captured_at"] == "2026-01-02T03:04:05.678901Z"
    assert (capture["consistency"], capture["frozen_ms"], capture["stopped_ms"]) == ("filesystem", 41.5, None)
    assert capture["progress"]["percent"] == 100.0
    assert [step["name"] for step in capture["steps"]] == ["freeze", "copy"]
    assert capture["steps"][1]["bytes"] == 8
    assert capture["images"][0]["sha256"] == "00" * 32
    assert capture["request_id"].startswith("req-")
    assert capture["fault"] is None
    assert "host" not in capture


def test_progress_of_a_running_capture(house: House) -> None:
    capture_id = house.create_image()
    house.tell(capture_id, house.begin(capture_id), Phase.TRANSFERRING, progress=Progress(250, 1000, 100.0))
    capture = house.get("alice", f"/v2.1/captures/{capture_id}").json["capture"]
    assert capture["progress"] == {
        "bytes_done": 250,
        "bytes_total": 1000,
        "percent": 25.0,
        "bytes_per_second": 100,
        "seconds_left": 7.5,
    }
    assert house.get("alice", f"/image/v2/images/{capture_id}").json["status"] == "saving"


def test_the_operators_part_is_for_administrators(house: House) -> None:
    capture_id = house.create_image()
    house.fail(capture_id, FAULT)
    seen = house.get("alice", f"/v2.1/captures/{capture_id}")
    assert seen.json["capture"]["fault"] == {"code": "no-space", "message": FAULT.message, "hint": "Free some."}
    assert "/secret" not in seen.text
    full = house.get("admin", f"/v2.1/captures/{capture_id}").json["capture"]
    assert full["fault"]["operator"] == "/secret/path on host1"
    assert full["steps"][0]["operator"] == "/secret/path on host1"
    assert full["host"] == "host1"


def test_captures_are_listed_newest_first_filtered_and_paged(house: House) -> None:
    first = house.create_image()
    house.fail(first, FAULT)
    second = house.create_image()
    third = house.create_image(server=TWO)

    def ids(query: str = "") -> list[str]:
        answer = house.get("alice", f"/v2.1/captures{query}")
        assert answer.status_code == 200, answer.text
        return [capture["id"] for capture in answer.json["captures"]]

    assert ids() == [third, second, first]
    assert ids(f"?server_id={ONE}") == [second, first]
    assert ids("?status=failed") == [first]
    assert ids("?status=failed,pending") == [third, second, first]
    assert ids("?limit=1") == [third]
    assert ids(f"?marker={third}&limit=1") == [second]
    link = house.get("alice", "/v2.1/captures?limit=2").json["captures_links"][0]["href"]
    assert ids(link.partition("/v2.1/captures")[2]) == [first]


@pytest.mark.parametrize("query", ["?status=nonsense", "?limit=x", "?marker=nonsense", "?nonsense=1"])
def test_bad_queries(house: House, query: str) -> None:
    assert house.get("alice", f"/v2.1/captures{query}").status_code == 400


def test_cancel_before_and_after_an_agent_began(house: House) -> None:
    one, two = house.create_image(), house.create_image(server=TWO)
    house.begin(two)
    for capture_id in (one, two, two):
        assert house.ask("alice", "DELETE", f"/v2.1/captures/{capture_id}").status_code == 202
    assert house.get("alice", f"/v2.1/captures/{one}").json["capture"]["status"] == "cancelled"
    assert house.get("alice", f"/v2.1/captures/{two}").json["capture"]["status"] == "running"
    server = house.get("alice", f"/v2.1/servers/{ONE}").json["server"]
    assert server["OS-EXT-STS:task_state"] is None


def test_cancel_after_the_end_is_a_conflict(house: House) -> None:
    capture_id = house.create_image()
    house.complete(capture_id)
    answer = house.ask("alice", "DELETE", f"/v2.1/captures/{capture_id}")
    assert answer.status_code == 409
    assert answer.json["conflictingRequest"]["error"] == "capture-ended"


def test_the_action_ends_with_the_capture(house: House) -> None:
    capture_id = house.create_image()
    (event,) = action(house, capture_id)["events"]
    assert event["event"] == "compute_snapshot_instance"
    assert (event["result"], event["finish_time"]) == (None, None)
    house.complete(capture_id)
    shown = action(house, capture_id)
    assert (shown["action"], shown["instance_uuid"], shown["user_id"]) == ("createImage", ONE, "alice")
    assert shown["message"] is None
    (event,) = shown["events"]
    assert event["result"] == "Success"
    assert event["finish_time"]
    assert event["details"] is None


def test_a_failed_action_tells_the_cause(house: House) -> None:
    capture_id = house.create_image()
    house.fail(capture_id, FAULT)
    mine, theirs = action(house, capture_id), action(house, capture_id, "admin")
    assert mine["message"] == "Error"
    assert mine["events"][0]["result"] == "Error"
    assert mine["events"][0]["details"] == FAULT.message
    assert "host" not in mine["events"][0]
    assert theirs["events"][0]["host"] == "host1"
    assert theirs["events"][0]["details"] == f"{FAULT.message} (/secret/path on host1)"


@pytest.mark.parametrize(
    ("version", "who", "event", "absent"),
    [
        ("2.50", "alice", None, "updated_at"),
        ("2.50", "admin", {"traceback"}, "updated_at"),
        ("2.51", "alice", set(), "updated_at"),
        ("2.58", "alice", set(), "hostId"),
        ("2.62", "alice", {"hostId"}, "details"),
        ("2.62", "admin", {"hostId", "host", "traceback"}, "details"),
        ("2.84", "alice", {"hostId", "details"}, "traceback"),
    ],
)
def test_events_by_microversion(house: House, version: str, who: str, event: set[str] | None, absent: str) -> None:
    shown = action(house, house.create_image(), who, version)
    if event is None:
        assert "events" not in shown
    else:
        assert set(shown["events"][0]) == {"event", "start_time", "finish_time", "result", *event}
        assert absent not in shown["events"][0]
    assert ("updated_at" in shown) is (version >= "2.58")


def test_actions_are_listed_newest_first_and_paged(house: House) -> None:
    ids = []
    for _ in range(3):
        ids.append(house.create_image())
        house.fail(ids[-1], FAULT)
    requests = [house.deps.captures.get(each, None).request_id for each in reversed(ids)]
    assert [each["request_id"] for each in actions(house)["instanceActions"]] == requests
    page = actions(house, query="?limit=2")
    assert [each["request_id"] for each in page["instanceActions"]] == requests[:2]
    assert page["links"][0]["href"].endswith(f"/servers/{ONE}/os-instance-actions?limit=2&marker={requests[1]}")
    rest = actions(house, query=f"?limit=2&marker={requests[1]}")
    assert [each["request_id"] for each in rest["instanceActions"]] == requests[2:]
    assert "links" not in actions(house, version="2.57")


@pytest.mark.parametrize(
    ("query", "version", "status"),
    [
        ("?marker=req-nonsense", "2.58", 400),
        ("?limit=x", "2.58", 400),
        ("?changes-since=x", "2.58", 400),
        ("?changes-before=2020-01-01T00:00:00Z", "2.65", 400),
        ("?changes-before=2020-01-01T00:00:00Z&changes-since=2021-01-01T00:00:00Z", "2.66", 400),
        ("?limit=x", "2.57", 200),
    ],
)
def test_queries_of_actions(house: House, query: str, version: str, status: int) -> None:
    url = f"/v2.1/servers/{ONE}/os-instance-actions{query}"
    assert house.get("alice", url, version=version).status_code == status


def test_actions_of_a_server_without_captures_and_of_none(house: House) -> None:
    assert actions(house) == {"instanceActions": []}
    url = f"/v2.1/servers/{ONE}/os-instance-actions/req-11111111-1111-4111-8111-111111111111"
    assert house.get("alice", url).status_code == 404
    assert house.get("alice", "/v2.1/servers/nonsense/os-instance-actions").status_code == 404


def test_a_backup_is_an_action_of_its_own(house: House) -> None:
    body = {"createBackup": {"name": "n", "backup_type": "daily", "rotation": 1}}
    capture_id = house.post("alice", f"/v2.1/servers/{ONE}/action", body, version="2.45").json["image_id"]
    shown = action(house, capture_id)
    assert (shown["action"], shown["events"][0]["event"]) == ("createBackup", "compute_backup_instance")


def test_flavors_are_those_of_the_projects_servers(house: House) -> None:
    answer = house.get("alice", "/v2.1/flavors/detail?is_public=None", version="2.61")
    assert [flavor["id"] for flavor in answer.json["flavors"]] == ["2c-128m", "m1.tiny"]
    flavor = house.get("alice", "/v2.1/flavors/2c-128m", version="2.61").json["flavor"]
    assert (flavor["vcpus"], flavor["ram"], flavor["swap"], flavor["extra_specs"]) == (2, 128, "", {})
    assert [each["id"] for each in house.get("bob", "/v2.1/flavors").json["flavors"]] == ["2c-128m"]
    assert house.get("bob", "/v2.1/flavors/m1.tiny").status_code == 404
    assert house.get("alice", "/v2.1/flavors?limit=1").json["flavors_links"]
    assert [each["id"] for each in house.get("alice", "/v2.1/flavors?marker=2c-128m").json["flavors"]] == ["m1.tiny"]
    assert house.get("alice", "/v2.1/flavors?marker=nonsense").status_code == 400
    assert house.get("alice", "/v2.1/flavors?minRam=129").json["flavors"] == []


def test_a_flavor_by_microversion(house: House) -> None:
    by_version = {
        minor: house.get("alice", "/v2.1/flavors/m1.tiny", version=f"2.{minor}").json["flavor"]
        for minor in (54, 55, 61, 75)
    }
    assert "description" not in by_version[54]
    assert "description" in by_version[55]
    assert "extra_specs" not in by_version[55]
    assert "extra_specs" in by_version[61]
    assert (by_version[61]["swap"], by_version[75]["swap"]) == ("", 0)


def test_limits_count_the_projects_servers(house: House) -> None:
    absolute = house.get("alice", "/v2.1/limits", version="2.96").json["limits"]["absolute"]
    assert (absolute["totalInstancesUsed"], absolute["totalCoresUsed"], absolute["totalRAMUsed"]) == (2, 4, 256)
    assert absolute["maxTotalInstances"] == -1
    assert "maxImageMeta" not in absolute
    assert house.get("alice", "/v2.1/limits", version="2.38").json["limits"]["absolute"]["maxImageMeta"] == 128
    assert house.get("alice", "/v2.1/limits?tenant_id=blue").status_code == 403
    other = house.get("admin", "/v2.1/limits?tenant_id=blue").json["limits"]["absolute"]
    assert other["totalInstancesUsed"] == 1
