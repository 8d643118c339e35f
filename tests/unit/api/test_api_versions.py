"""Version documents and microversions."""

from __future__ import annotations

import pytest

from tests.unit.api.api_house import House

BOTH = ("OpenStack-API-Version", "X-OpenStack-Nova-API-Version")


def test_the_root_announces_both_versions_without_signing_in(house: House) -> None:
    versions = house.get(None, "/").json["versions"]
    assert [(each["id"], each["min_version"], each["version"]) for each in versions] == [
        ("v2.0", "", ""),
        ("v2.1", "2.1", "2.100"),
    ]
    assert versions[1]["links"] == [{"rel": "self", "href": "http://falconframework.org/v2.1/"}]


@pytest.mark.parametrize("path", ["/v2.1", "/v2.1/"])
def test_the_version_document_with_and_without_slash(house: House, path: str) -> None:
    version = house.get(None, path).json["version"]
    assert (version["id"], version["min_version"], version["version"]) == ("v2.1", "2.1", "2.100")
    assert version["links"][0]["href"] == "http://falconframework.org/v2.1/"
    assert version["media-types"][0]["type"] == "application/vnd.openstack.compute+json;version=2.1"


def test_the_legacy_version_document(house: House) -> None:
    assert house.get(None, "/v2/").json["version"]["id"] == "v2.0"


def test_image_versions(house: House) -> None:
    choices = house.get(None, "/image/")
    assert choices.status_code == 300
    assert choices.json["versions"][0] == {
        "id": "v2.17",
        "status": "CURRENT",
        "links": [{"rel": "self", "href": "http://falconframework.org/image/v2/"}],
    }
    assert house.get(None, "/image/versions").status_code == 200


@pytest.mark.parametrize(
    ("headers", "honoured"),
    [
        ({}, "2.1"),
        ({"OpenStack-API-Version": "compute 2.45"}, "2.45"),
        ({"OpenStack-API-Version": "compute latest"}, "2.100"),
        ({"OpenStack-API-Version": "volume 3.1, compute 2.7"}, "2.7"),
        ({"OpenStack-API-Version": "volume 3.1"}, "2.1"),
        ({"X-OpenStack-Nova-API-Version": "2.96"}, "2.96"),
        ({"X-OpenStack-Nova-API-Version": "latest"}, "2.100"),
        ({"OpenStack-API-Version": "compute 2.45", "X-OpenStack-Nova-API-Version": "2.3"}, "2.45"),
    ],
)
def test_the_version_that_was_honoured_is_told(house: House, headers: dict[str, str], honoured: str) -> None:
    answer = house.get("alice", "/v2.1/servers", headers=headers)
    assert answer.status_code == 200
    assert answer.headers[BOTH[0]] == f"compute {honoured}"
    assert answer.headers[BOTH[1]] == honoured
    assert answer.headers["Vary"] == ", ".join(BOTH)


@pytest.mark.parametrize("version", ["2.101", "2.0", "3.1", "1.1"])
def test_versions_outside_are_not_acceptable(house: House, version: str) -> None:
    answer = house.get("alice", "/v2.1/servers", version=version)
    assert answer.status_code == 406
    fault = answer.json["computeFault"]
    assert fault["code"] == 406
    assert fault["message"] == (f"Version {version} is not supported by the API. Minimum is 2.1 and maximum is 2.100.")
    assert "Vary" in answer.headers


@pytest.mark.parametrize("version", ["2", "two", "2.1.1", "2.01", "-2.1"])
def test_what_is_no_version_is_bad(house: House, version: str) -> None:
    answer = house.get("alice", "/v2.1/servers", version=version)
    assert answer.status_code == 400
    assert "invalid format" in answer.json["badRequest"]["message"]


@pytest.mark.parametrize("url", ["/v2.1/servers", "/v2.1/nonsense", "/v2.1/servers/x", "/v2.1/"])
def test_every_answer_under_v2_1_has_the_headers(house: House, url: str) -> None:
    for who in ("alice", None):
        answer = house.get(who, url, version="2.45")
        assert answer.headers[BOTH[0]] == "compute 2.45"
        assert answer.headers["Vary"] == ", ".join(BOTH)


@pytest.mark.parametrize("url", ["/", "/v2.1/servers", "/nonsense", "/image/v2/images", "/healthcheck"])
def test_every_answer_has_a_request_id_of_its_own(house: House, url: str) -> None:
    first, second = house.get("alice", url), house.get("alice", url)
    assert first.headers["x-openstack-request-id"] == first.headers["x-compute-request-id"]
    assert first.headers["x-openstack-request-id"].startswith("req-")
    assert first.headers["x-openstack-request-id"] != second.headers["x-openstack-request-id"]
