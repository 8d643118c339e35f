"""The image API, as Glance's clients use it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from stillframe.api.download import Downloads
from stillframe.errors.request import TooManyDownloads
from stillframe.model import Fault
from tests.unit.api.api_house import ONE, TWO, House

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "aaaaaaaa-0000-4000-8000-000000000002"
C = "aaaaaaaa-0000-4000-8000-000000000003"
DATA = bytes(range(256)) * 4096


@pytest.fixture
def images(house: House) -> House:
    house.publish(A, "alpha", DATA, owner="red", properties={"os_type": "linux", "instance_uuid": ONE})
    house.publish(B, "beta, too", owner="red", min_disk=3, min_ram=64)
    house.publish(C, "gamma", owner="blue")
    return house


def ids(house: House, query: str, who: str = "alice") -> list[str]:
    answer = house.get(who, f"/image/v2/images{query}")
    assert answer.status_code == 200, answer.text
    return [image["id"] for image in answer.json["images"]]


def test_an_image_is_as_glance_shows_it(images: House) -> None:
    image = images.get("alice", f"/image/v2/images/{A}").json
    assert image == {
        "os_type": "linux",
        "instance_uuid": ONE,
        "id": A,
        "name": "alpha",
        "status": "active",
        "visibility": "private",
        "protected": False,
        "os_hidden": False,
        "checksum": None,
        "os_hash_algo": "sha256",
        "os_hash_value": "00" * 32,
        "owner": "red",
        "size": len(DATA),
        "virtual_size": 1 << 30,
        "container_format": "bare",
        "disk_format": "raw",
        "created_at": "2026-01-02T03:04:05Z",
        "updated_at": "2026-01-02T03:04:05Z",
        "tags": [],
        "min_ram": 0,
        "min_disk": 0,
        "self": f"/v2/images/{A}",
        "file": f"/v2/images/{A}/file",
        "schema": "/v2/schemas/image",
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?sort=id:asc", [A, B]),
        ("?sort=name:desc", [B, A]),
        ("?sort=min_disk:asc,name:desc", [A, B]),
        ("?sort_key=name&sort_dir=asc", [A, B]),
        ("?sort_key=size&sort_key=name&sort_dir=desc", [A, B]),
        ("?name=alpha", [A]),
        (f"?id=in:{A},{C}", [A]),
        ("?name=" + quote('in:"beta, too",x'), [B]),
        ("?status=active&sort=id:asc", [A, B]),
        ("?status=queued", []),
        ("?owner=blue", []),
        ("?visibility=private&sort=id:asc", [A, B]),
        ("?visibility=public", []),
        ("?visibility=all&sort=id:asc", [A, B]),
        ("?os_type=linux", [A]),
        ("?os_type=windows", []),
        (f"?instance_uuid={ONE}", [A]),
        ("?min_disk=3", [B]),
        ("?size_min=1000", [A]),
        ("?size_max=1000", [B]),
        ("?created_at=gt:2030-01-01T00:00:00Z", []),
        ("?created_at=lte:2030-01-01T00:00:00Z&sort=id:asc", [A, B]),
        ("?os_hidden=true", []),
        ("?protected=false&sort=id:asc", [A, B]),
        ("?tag=x", []),
        ("?member_status=all&sort=id:asc", [A, B]),
        ("?limit=0", []),
        (f"?sort=id:asc&marker={A}", [B]),
    ],
)
def test_filters_and_order(images: House, query: str, expected: list[str]) -> None:
    assert ids(images, query) == expected


@pytest.mark.parametrize(
    "query",
    [
        *("?sort=nonsense", "?sort=name:sideways", "?sort=name&sort_key=id", "?sort_key=nonsense"),
        *("?sort_key=id&sort_dir=asc&sort_dir=desc", "?limit=x", "?limit=-1", "?marker=nonsense", f"?marker={C}"),
        *("?visibility=nonsense", "?protected=maybe", "?created_at=gt:yesterday", "?size_min=much"),
        *("?changes-since=2020-01-01T00:00:00Z", "?a=" + "&a=" * 300),
    ],
)
def test_bad_queries(images: House, query: str) -> None:
    assert images.get("alice", f"/image/v2/images{query}").status_code == 400


def test_pages_follow_next(images: House) -> None:
    answer = images.get("alice", "/image/v2/images?limit=1&sort=id:asc").json
    assert answer["first"] == "/v2/images?limit=1&sort=id%3Aasc"
    assert answer["schema"] == "/v2/schemas/images"
    following = images.get("alice", f"/image{answer['next']}").json
    assert [image["id"] for image in following["images"]] == [B]
    last = images.get("alice", f"/image{following['next']}").json
    assert last["images"] == []
    assert "next" not in last


def test_images_being_made_stand_beside_the_others(images: House) -> None:
    pending = images.create_image(name="soon")
    assert ids(images, "")[0] == pending
    assert ids(images, "?status=queued") == [pending]
    assert images.get("alice", f"/image/v2/images/{pending}/file").status_code == 204


def test_an_image_is_there_once_while_its_capture_ends(images: House) -> None:
    pending = images.create_image()
    images.publish(pending, "golden", owner="red")
    assert ids(images, "").count(pending) == 1
    assert images.get("alice", f"/image/v2/images/{pending}").json["status"] == "active"


def test_an_image_that_will_never_come_says_why(images: House) -> None:
    failed, cancelled = images.create_image(), images.create_image(server=TWO)
    images.fail(failed, Fault("no-space", "The store has too little room.", operator="/secret/path"))
    images.ask("alice", "DELETE", f"/v2.1/captures/{cancelled}")
    one = images.get("alice", f"/image/v2/images/{failed}")
    assert one.status_code == 404
    assert one.json["itemNotFound"]["message"] == (
        f"No image found with ID {failed}: its capture failed. The store has too little room."
    )
    assert "/secret" not in one.text
    two = images.get("alice", f"/image/v2/images/{cancelled}")
    assert two.json["itemNotFound"]["message"].endswith("its capture was cancelled.")
    assert images.get("bob", f"/image/v2/images/{failed}").json["itemNotFound"]["error"] == "image-not-found"


def test_the_whole_file(images: House) -> None:
    answer = images.get("alice", f"/image/v2/images/{A}/file")
    assert answer.status_code == 200
    assert answer.content == DATA
    assert answer.headers["Content-Length"] == str(len(DATA))
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert "Content-MD5" not in answer.headers


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=1000000-", 1000000, len(DATA) - 1),
        ("bytes=-5", len(DATA) - 5, len(DATA) - 1),
        ("bytes=5-99999999", 5, len(DATA) - 1),
    ],
)
def test_a_part_of_the_file(images: House, asked: str, first: int, last: int) -> None:
    answer = images.get("alice", f"/image/v2/images/{A}/file", headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == DATA[first : last + 1]
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(DATA)}"
    assert answer.headers["Content-Length"] == str(last - first + 1)


def test_a_part_that_is_not_there(images: House) -> None:
    answer = images.get("alice", f"/image/v2/images/{A}/file", headers={"Range": f"bytes={len(DATA)}-"})
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(DATA)}"


def test_a_published_image_is_deleted(images: House) -> None:
    assert images.ask("alice", "DELETE", f"/image/v2/images/{A}").status_code == 204
    assert images.get("alice", f"/image/v2/images/{A}").status_code == 404
    assert ids(images, "") == [B]


def test_deleting_an_image_being_made_cancels_its_capture(images: House) -> None:
    pending = images.create_image()
    assert images.ask("alice", "DELETE", f"/image/v2/images/{pending}").status_code == 204
    assert images.get("alice", f"/v2.1/captures/{pending}").json["capture"]["status"] == "cancelled"


def test_deleting_what_is_being_published_is_a_conflict(images: House) -> None:
    pending = images.create_image()
    images.endpoint.commit(pending, images.begin(pending))
    answer = images.ask("alice", "DELETE", f"/image/v2/images/{pending}")
    assert answer.status_code == 409
    assert answer.json["conflictingRequest"]["error"] == "capture-ended"


def test_a_reader_neither_deletes_nor_downloads(images: House) -> None:
    assert images.get("rita", f"/image/v2/images/{A}").status_code == 200
    assert images.ask("rita", "DELETE", f"/image/v2/images/{A}").status_code == 403
    assert images.get("rita", f"/image/v2/images/{A}/file").status_code == 403


@pytest.mark.parametrize("bad", ["nonsense", "..%2F..%2Fetc%2Fpasswd", A.replace("-", ""), A + "x"])
def test_ids_that_are_none(images: House, bad: str) -> None:
    for method, tail in (("GET", ""), ("GET", "/file"), ("DELETE", "")):
        assert images.ask("admin", method, f"/image/v2/images/{bad}{tail}").status_code == 404


@pytest.mark.parametrize(("method", "url"), [("PATCH", f"/{A}"), ("PUT", f"/{A}/file"), ("POST", "")])
def test_images_are_not_changed_here(images: House, method: str, url: str) -> None:
    answer = images.ask("alice", method, f"/image/v2/images{url}")
    assert answer.status_code == 405
    assert answer.json["badMethod"]["code"] == 405
    assert "GET" in answer.headers["Allow"]


def test_novaclient_finds_images_below_its_one_endpoint(images: House) -> None:
    image = images.get("alice", f"/v2.1/v2/images/{A}", version="2.96")
    assert image.json == images.get("alice", f"/image/v2/images/{A}").json
    assert [each["id"] for each in images.get("alice", f"/v2.1/v2/images?id=in:{A},{C}").json["images"]] == [A]


def test_schemas(images: House) -> None:
    schema: Any = images.get("alice", "/image/v2/schemas/image").json
    image = images.get("alice", f"/image/v2/images/{A}").json
    assert set(image) - {"os_type", "instance_uuid"} == set(schema["properties"])
    assert images.get("alice", "/image/v2/schemas/images").json["properties"]["images"]["items"] == schema


def test_downloads_leave_threads_for_others(images: House) -> None:
    downloads = Downloads(1)
    part = downloads.open(images.store.data(A), 0, 10)
    with pytest.raises(TooManyDownloads):
        downloads.open(images.store.data(A), 0, 10)
    assert b"".join(part) == DATA[:10]
    part.close()
    part.close()
    downloads.open(images.store.data(A), 0, 10).close()
