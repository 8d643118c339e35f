"""createImage, createBackup and POST /captures."""

from __future__ import annotations

from typing import Any

import pytest

from stillframe.model import PowerState, VmState
from tests.unit.api.api_house import BASE_IMAGE, BLUE, INSTANCES, LOOSE, ONE, TWO, House, instance

ACTION = f"/v2.1/servers/{ONE}/action"


def create(house: House, inner: Any, version: str = "2.45", url: str = ACTION) -> Any:
    return house.post("alice", url, {"createImage": inner}, version=version)


def test_since_2_45_the_id_is_in_the_body(house: House) -> None:
    answer = create(house, {"name": "golden"})
    assert answer.status_code == 202
    assert set(answer.json) == {"image_id"}
    assert "Location" not in answer.headers
    assert house.get("alice", f"/image/v2/images/{answer.json['image_id']}").json["status"] == "queued"


@pytest.mark.parametrize(("url", "version"), [(ACTION, "2.44"), (ACTION.replace("v2.1", "v2"), "2.100")])
def test_before_2_45_the_id_is_in_the_location(house: House, url: str, version: str) -> None:
    answer = create(house, {"name": "golden"}, version, url)
    assert answer.status_code == 202
    assert answer.text == ""
    path, _, image_id = answer.headers["Location"].rpartition("/")
    assert path == "http://falconframework.org/image/v2/images"
    assert house.get("alice", f"/image/v2/images/{image_id}").status_code == 200


@pytest.mark.parametrize(
    ("inner", "words"),
    [
        ({}, "Invalid input for field/attribute createImage. Value: {}. 'name' is a required property"),
        ({"name": ""}, "Invalid input for field/attribute name. Value: . "),
        ({"name": " a"}, "An invalid 'name' value was provided. The name must be: printable characters."),
        ({"name": "a\u00a0"}, "An invalid 'name' value was provided."),
        ({"name": "a\tb"}, "An invalid 'name' value was provided."),
        ({"name": "a" * 256}, "Invalid input for field/attribute name. Value: aaa"),
        ({"name": 5}, "Invalid input for field/attribute name. Value: 5. 5 is not of type 'string'"),
        ({"name": "a", "metadata": []}, "Invalid input for field/attribute metadata. Value: []. "),
        ({"name": "a", "metadata": {"k": 1}}, "Invalid input for field/attribute k. Value: 1. "),
        ({"name": "a", "metadata": {"k": "v" * 256}}, "Invalid input for field/attribute k. Value: vvv"),
        ({"name": "a", "metadata": {"k/": "v"}}, "Invalid input for field/attribute metadata. Value: {'k/': 'v'}."),
        ({"name": "a", "metadata": {"k\n": "v"}}, "Invalid input for field/attribute metadata."),
        ({"name": "a", "metadata": {"k": "\ud800"}}, "Invalid input for field/attribute k."),
        ({"name": "a", "metadata": {"": "v"}}, "Invalid input for field/attribute metadata. Value: {'': 'v'}."),
        ({"name": "a", "metadata": {"stillframe_x": "v"}}, "Value: stillframe_x."),
        ({"name": "a", "metadata": {"md5sum": "v"}}, "Value: md5sum."),
        ({"name": "a", "metadata": {"instance_owner": "blue"}}, "Value: instance_owner."),
        ({"name": "a", "metadata": {"status": "active"}}, "Value: status."),
        ({"name": "a", "more": 1}, "Additional properties are not allowed ('more' was unexpected)"),
        (None, "Invalid input for field/attribute createImage. Value: None. None is not of type 'object'"),
    ],
)
def test_what_does_not_fit_is_named(house: House, inner: Any, words: str) -> None:
    answer = create(house, inner)
    assert answer.status_code == 400, answer.text
    assert words in answer.json["badRequest"]["message"]
    assert answer.json["badRequest"]["code"] == 400
    assert house.get("alice", "/v2.1/captures").json["captures"] == []


@pytest.mark.parametrize(
    ("name", "metadata"),
    [("a", {}), ("ä" * 255, {"a-b_c:d. e": ""}), ("Ein Bild 🙂", {"x" * 255: "v" * 255})],
)
def test_the_whole_range_fits(house: House, name: str, metadata: dict[str, str]) -> None:
    image_id = house.create_image(name=name, metadata=metadata)
    image = house.get("alice", f"/image/v2/images/{image_id}").json
    assert image["name"] == name
    assert metadata.items() <= image.items()


def test_v2_is_as_strict_about_names_but_ignores_strangers(house: House) -> None:
    url = ACTION.replace("v2.1", "v2")
    assert create(house, {"name": " a"}, url=url).status_code == 400
    assert create(house, {"name": "a", "metadata": {"k/": "v"}}, url=url).status_code == 400
    assert create(house, {"name": "a", "more": 1}, url=url).status_code == 202


def test_too_much_metadata_is_refused_before_2_39(house: House) -> None:
    inner = {"name": "a", "metadata": {f"k{n}": "v" for n in range(129)}}
    refused = create(house, inner, "2.38")
    assert refused.status_code == 403
    assert "Image metadata limit exceeded" in refused.json["forbidden"]["message"]
    assert create(house, inner, "2.39").status_code == 202


def test_one_capture_at_a_time(house: House) -> None:
    house.create_image()
    answer = create(house, {"name": "again"})
    assert answer.status_code == 409
    fault = answer.json["conflictingRequest"]
    words = f"Cannot 'createImage' instance {ONE} while it is in task_state image_snapshot_pending"
    assert fault["message"] == words
    assert fault["error"] == "wrong-state"
    assert fault["hint"]
    server = house.get("alice", f"/v2.1/servers/{ONE}").json["server"]
    assert server["OS-EXT-STS:task_state"] == "image_snapshot_pending"


def test_a_vm_state_that_does_not_allow_it(house: House) -> None:
    broken = instance(ONE, "web1", "red", vm_state=VmState.ERROR, power_state=PowerState.CRASHED)
    house.report(broken, *INSTANCES[1:])
    answer = create(house, {"name": "a"})
    assert answer.status_code == 409
    assert answer.json["conflictingRequest"]["message"].endswith("while it is in vm_state error")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "Malformed request body"),
        ({"createImage": {"name": "a"}, "os-start": None}, "Malformed request body"),
        ([], "Malformed request body"),
        ("createImage", "Malformed request body"),
        ({"os-start": None}, "There is no such action: os-start"),
        ({"nonsense": {}}, "There is no such action: nonsense"),
    ],
)
def test_other_actions(house: House, body: Any, words: str) -> None:
    answer = house.post("alice", ACTION, body)
    assert answer.status_code == 400
    assert answer.json["badRequest"]["message"] == words


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 5000, b"nonsense"])
def test_bodies_that_are_no_json(house: House, body: bytes) -> None:
    answer = house.ask("alice", "POST", ACTION, body=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json["badRequest"]["message"] == "Malformed request body"


def test_bodies_of_other_types_and_sizes(house: House) -> None:
    xml = house.ask("alice", "POST", ACTION, body=b"<a/>", headers={"Content-Type": "application/xml"})
    assert xml.status_code == 415
    assert xml.json["badMediaType"]["code"] == 415
    large = house.ask("alice", "POST", ACTION, body=b" " * 200_000, headers={"Content-Type": "application/json"})
    assert large.status_code == 413
    assert large.json["overLimit"]["error"] == "request-too-large"


def test_the_image_tells_where_it_comes_from(house: House) -> None:
    image = house.get("alice", f"/image/v2/images/{house.create_image()}").json
    assert image["instance_uuid"] == ONE
    assert image["user_id"] == "alice"
    assert image["owner_id"] == image["owner"] == "red"
    assert image["image_type"] == "snapshot"
    assert image["image_location"] == "snapshot"
    assert image["image_state"] == "available"
    assert image["base_image_ref"] == BASE_IMAGE
    assert image["min_disk"] == 2  # the disk has one byte more than 1 GiB
    assert image["visibility"] == "private"
    assert image["disk_format"] is None


def test_metadata_cannot_say_who_captured_what(house: House) -> None:
    wrong = {"instance_uuid": TWO, "user_id": "bob", "owner_id": "blue"}
    image = house.get("alice", f"/image/v2/images/{house.create_image(metadata=wrong)}").json
    assert (image["instance_uuid"], image["user_id"], image["owner_id"]) == (ONE, "alice", "red")
    assert house.get("bob", "/image/v2/images").json["images"] == []


def test_properties_of_the_base_image_are_inherited(house: House) -> None:
    inherited = {
        "os_type": "linux",
        "os_distro": "debian",
        "cache_in_nova": "yes",
        "bittorrent": "yes",
        "img_signature": "x",
        "img_signature_hash_method": "x",
        "cinder_encryption_key_id": "x",
        "os_glance_importing_to_stores": "x",
        "stillframe_consistency": "filesystem",
        "md5sum": "x",
        "owner_id": "somebody",
        "instance_uuid": TWO,
    }
    house.publish(BASE_IMAGE, "base", owner="red", min_disk=5, min_ram=64, properties=inherited)
    image = house.get("alice", f"/image/v2/images/{house.create_image(metadata={'os_distro': 'mine'})}").json
    assert image["os_type"] == "linux"
    assert image["os_distro"] == "mine"
    assert (image["min_disk"], image["min_ram"]) == (5, 64)
    assert (image["instance_uuid"], image["owner_id"]) == (ONE, "red")
    for name in set(inherited) - {"os_type", "os_distro", "owner_id", "instance_uuid"}:
        assert name not in image


def test_another_projects_base_image_is_not_read(house: House) -> None:
    house.publish(BASE_IMAGE, "base", owner="blue", properties={"os_type": "linux"})
    assert "os_type" not in house.get("alice", f"/image/v2/images/{house.create_image()}").json


@pytest.mark.parametrize("where", ["metadata", "base"])
def test_os_require_quiesce_is_a_wish(house: House, where: str) -> None:
    wish = {"os_require_quiesce": "yes"}
    house.publish(BASE_IMAGE, "base", owner="red", properties=wish if where == "base" else {})
    capture_id = house.create_image(metadata=wish if where == "metadata" else {})
    assert house.deps.captures.get(capture_id, None).wishes.require_quiesce


def test_metadata_takes_an_inherited_os_require_quiesce_off(house: House) -> None:
    house.publish(BASE_IMAGE, "base", owner="red", properties={"os_require_quiesce": "yes"})
    capture_id = house.create_image(metadata={"os_require_quiesce": "no"})
    assert not house.deps.captures.get(capture_id, None).wishes.require_quiesce


def test_an_administrators_image_of_anothers_server_is_shared_with_its_project(house: House) -> None:
    image_id = house.create_image("admin")
    image = house.get("admin", f"/image/v2/images/{image_id}").json
    assert image["owner"] == "default"
    assert image["instance_owner"] == "red"
    house.complete(image_id)
    seen = house.get("alice", f"/image/v2/images/{image_id}")
    assert seen.json["visibility"] == "shared"
    assert house.ask("alice", "DELETE", f"/image/v2/images/{image_id}").status_code == 403
    assert house.get("bob", f"/image/v2/images/{image_id}").status_code == 404


def test_an_image_of_an_unowned_server_is_the_administrators(house: House) -> None:
    image_id = house.create_image("admin", LOOSE)
    image = house.get("admin", f"/image/v2/images/{image_id}").json
    assert image["owner"] is None
    assert "owner_id" not in image
    for who in ("alice", "bob", "mona"):
        assert house.get(who, f"/image/v2/images/{image_id}").status_code in (403, 404)


def test_a_backup_with_its_rotation_as_a_string(house: House) -> None:
    body = {"createBackup": {"name": "nightly", "backup_type": "daily", "rotation": "2"}}
    answer = house.post("alice", ACTION, body, version="2.45")
    assert answer.status_code == 202
    image = house.get("alice", f"/image/v2/images/{answer.json['image_id']}").json
    assert (image["image_type"], image["backup_type"]) == ("backup", "daily")
    capture = house.deps.captures.get(answer.json["image_id"], None)
    assert (capture.kind, capture.backup_type, capture.rotation) == ("backup", "daily", 2)
    server = house.get("alice", f"/v2.1/servers/{ONE}").json["server"]
    assert server["OS-EXT-STS:task_state"] == "image_backup"


@pytest.mark.parametrize("rotation", [-1, "-1", "x", "", 1.5, None, True, 10**30, "9" * 30])
def test_rotations_that_are_no_count(house: House, rotation: object) -> None:
    body = {"createBackup": {"name": "nightly", "backup_type": "daily", "rotation": rotation}}
    answer = house.post("alice", ACTION, body)
    assert answer.status_code == 400
    assert "rotation" in answer.json["badRequest"]["message"]


@pytest.mark.parametrize("missing", ["name", "backup_type", "rotation"])
def test_a_backup_needs_all_three(house: House, missing: str) -> None:
    inner = {"name": "nightly", "backup_type": "daily", "rotation": 1}
    inner.pop(missing)
    assert house.post("alice", ACTION, {"createBackup": inner}).status_code == 400


def test_a_backup_before_2_45_has_a_location_unless_nothing_is_kept(house: House) -> None:
    inner: dict[str, Any] = {"name": "nightly", "backup_type": "daily", "rotation": 1}
    assert "Location" in house.post("alice", ACTION, {"createBackup": inner}).headers
    other = ACTION.replace(ONE, TWO)
    assert "Location" not in house.post("alice", other, {"createBackup": inner | {"rotation": 0}}).headers


def test_a_backup_refused_names_its_action(house: House) -> None:
    house.create_image()
    body = {"createBackup": {"name": "nightly", "backup_type": "daily", "rotation": 1}}
    answer = house.post("alice", ACTION, body)
    assert answer.json["conflictingRequest"]["message"].startswith("Cannot 'createBackup' instance")


def test_several_disks_with_wishes(house: House) -> None:
    wishes = {"format": "raw", "quiesce": True, "trim": True, "cold": False, "bandwidth": 1000}
    wanted = {"server_id": ONE, "name": "set", "metadata": {"k": "v"}, "disks": ["vdb", "vda"], **wishes}
    answer = house.post("alice", "/v2.1/captures", {"capture": wanted})
    assert answer.status_code == 202
    capture = answer.json["capture"]
    assert [(image["disk"], image["name"]) for image in capture["images"]] == [("vda", "set"), ("vdb", "set-vdb")]
    assert capture["images"][0]["id"] == capture["id"]
    assert capture["wishes"] == wishes
    listed = house.get("alice", "/image/v2/images").json["images"]
    assert sorted(image["name"] for image in listed) == ["set", "set-vdb"]
    assert {image["min_disk"] for image in listed} == {2}


def test_all_disks_and_the_root_disk(house: House) -> None:
    one = house.post("alice", "/v2.1/captures", {"capture": {"server_id": ONE, "name": "n", "disks": "all"}})
    assert [image["disk"] for image in one.json["capture"]["images"]] == ["vda", "vdb"]
    two = house.post("alice", "/v2.1/captures", {"capture": {"server_id": TWO, "name": "n"}})
    assert [image["disk"] for image in two.json["capture"]["images"]] == [None]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"disks": ["vdz"]}, "has no disk vdz"),
        ({"disks": []}, "disks"),
        ({"disks": ["vda", "vda"]}, "disks"),
        ({"disks": "some"}, "disks"),
        ({"format": "vmdk"}, "format"),
        ({"bandwidth": -1}, "bandwidth"),
        ({"bandwidth": 2**64}, "bandwidth"),
        ({"quiesce": "yes"}, "quiesce"),
        ({"server_id": "x"}, "server_id"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_wishes_that_do_not_fit(house: House, change: dict[str, Any], words: str) -> None:
    answer = house.post("alice", "/v2.1/captures", {"capture": {"server_id": ONE, "name": "n"} | change})
    assert answer.status_code == 400
    assert words in answer.json["badRequest"]["message"]


def test_another_projects_server_is_not_there(house: House) -> None:
    answer = house.post("alice", "/v2.1/captures", {"capture": {"server_id": BLUE, "name": "n"}})
    assert answer.status_code == 404
    assert answer.json["itemNotFound"]["message"] == f"Instance {BLUE} could not be found."
