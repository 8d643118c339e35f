"""Servers that boot from a volume of Cinder's: real images of their root volume, and images that name snapshots."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab import captures
from lab.domains import NovaMetadata
from lab.factory import Guests
from lab.openstack.cinder import Cinder
from lab.wait import until
from tests.cloud.cinder_scene import VolumeScene, cinder, downloaded, vol, volume_guest  # noqa: F401 - fixtures
from tests.cloud.clients import Clients
from tests.cloud.scene import ALICE, Scene

SNAPSHOTS = {"enable_snapshot_volume_backed": True}


def test_a_volume_is_made_attached_shown_and_deleted(cinder: Cinder, scene: Scene) -> None:  # noqa: F811
    server = "11111111-1111-4111-8111-111111111111"
    volume = cinder.make(ALICE, "v")
    attachment = cinder.attach(ALICE, volume, server)
    storage = scene.cloud().block_storage
    query = {"instance_id": server}
    [shown] = storage.get("/attachments/detail", params=query, microversion="3.27").json()["attachments"]
    assert shown["connection_info"]["name"] == f"volumes/volume-{volume}"
    cinder.detach(attachment)
    cinder.expect(ALICE, volume, "available")
    cinder.delete(ALICE, volume)
    assert [name for name, *_ in cinder.ceph.contents()["volumes"] if volume in name] == []


# ------------------------------------------------------------------------------------- an image with the volume's bytes


def test_a_root_volume_becomes_a_real_image(vol: VolumeScene, tmp_path: Path) -> None:  # noqa: F811
    metadata = {"metadata": {"os_distro": "debian", "min_ram": "64", "image_id": vol.volumes[1], "color": "blue"}}
    storage = vol.scene.cloud().block_storage
    storage.post(f"/volumes/{vol.volumes[0]}/action", json={"os-set_image_metadata": metadata})
    answer = vol.create()
    assert answer.status_code == 202, answer.text
    shown = captures.completed(vol.scene.service, answer.json()["image_id"], 120)
    assert (shown["source"], shown["consistency"]) == ("snapshot", "filesystem")
    image = vol.scene.image(shown["id"], ALICE)
    assert (image.status, image.size, image.disk_format, image.min_disk) == ("active", 1 << 30, "raw", 1)
    assert (image.os_distro, image.min_ram, image.properties["color"]) == ("debian", 64, "blue")
    assert "image_id" not in image.properties
    vol.consistent(downloaded(vol.scene, shown["id"], tmp_path))
    vol.untouched()


def test_the_cluster_of_a_volume_is_asked_of_cinder_where_its_domain_names_none(
    vol: VolumeScene,  # noqa: F811
    tmp: Path,
) -> None:
    """QEMU has it from a ceph.conf then, which need not be where Stillframe looks."""
    guests = Guests(vol.host, tmp)
    volume = vol.cinder.make(ALICE, "small")
    disk = vol.cinder.disk(volume)
    assert disk.rbd is not None
    nova = NovaMetadata(name="bare", project_id=vol.scene.stage.keystone.project_id("red"), image_id=volume)
    guest = guests.define(replace(disk, rbd=replace(disk.rbd, monitors=())), nova=nova)
    attachment = vol.cinder.attach(ALICE, volume, guest.id)
    captures.known(vol.scene.service, guest)
    body = {"createImage": {"name": "golden"}}
    answer = vol.scene.ask(ALICE, "POST", f"/v2.1/servers/{guest.id}/action", body, "2.45")
    shown = captures.completed(vol.scene.service, answer.json()["image_id"], 120)
    assert (shown["source"], shown["consistency"]) == ("snapshot", "offline")
    guests.remove()
    vol.cinder.detach(attachment)
    vol.cinder.expect(ALICE, volume, "available")
    vol.cinder.delete(ALICE, volume)


def test_a_backup_of_a_server_on_a_volume_is_refused_as_nova_does(vol: VolumeScene) -> None:  # noqa: F811
    body = {"createBackup": {"name": "b", "backup_type": "daily", "rotation": 1}}
    answer = vol.scene.ask(ALICE, "POST", f"/v2.1/servers/{vol.guest.id}/action", body, "2.45")
    assert answer.status_code == 400
    assert answer.json()["badRequest"]["message"] == "Backup is not supported for volume-backed instances."


# ------------------------------------------------------------------------------------- an image that names snapshots


def mapping(image: Any) -> list[dict[str, Any]]:
    """The block devices that an image names."""
    found: list[dict[str, Any]] = json.loads(image.properties["block_device_mapping"])
    return found


def test_an_image_names_snapshots_of_all_volumes_of_one_instant(vol: VolumeScene, tmp_path: Path) -> None:  # noqa: F811
    with vol.options(cinder=SNAPSHOTS):
        answer = vol.create(color="blue")
        assert answer.status_code == 202, answer.text
        shown = captures.completed(vol.scene.service, answer.json()["image_id"])
        assert (shown["source"], shown["transfer"], shown["consistency"]) == ("volumes", "record", "filesystem")
        vol.unmarked()
        assert captures.left_behind(vol.scene.service, vol.guest) == []
    image = vol.scene.image(shown["id"], ALICE)
    assert (image.status, image.size, image.disk_format, image.container_format) == ("active", 0, "raw", "bare")
    properties = image.properties
    assert (properties["bdm_v2"], properties["root_device_name"]) == ("True", "/dev/vda")
    assert (properties["color"], properties["image_type"]) == ("blue", "snapshot")
    snapshots = {each.volume_id: each for each in vol.cinder.snapshots(ALICE)}
    assert {each.status for each in snapshots.values()} == {"available"}
    assert {each.name for each in snapshots.values()} == {"snapshot for golden"}
    devices = mapping(image)
    assert [each["snapshot_id"] for each in devices] == [snapshots[volume].id for volume in vol.volumes]
    assert [(each["boot_index"], each["device_name"], each["volume_size"]) for each in devices] == [
        (0, "/dev/vda", 1),
        (None, "/dev/vdb", 1),
    ]
    assert {(each["source_type"], each["destination_type"], each["disk_bus"]) for each in devices} == {
        ("snapshot", "volume", "virtio")
    }
    for device in devices:
        vol.consistent(of_snapshot(vol, device["snapshot_id"], tmp_path))


def of_snapshot(vol: VolumeScene, snapshot: str, directory: Path) -> Path:  # noqa: F811
    """The bytes of a volume that Cinder makes of a snapshot, as a boot from the image does; it is deleted again."""
    made = vol.scene.cloud().block_storage.create_volume(size=1, snapshot_id=snapshot, name="copy")
    vol.cinder.expect(ALICE, made.id, "available")
    found = vol.of_volume(made.id, directory)
    vol.cinder.delete(ALICE, made.id)
    return found


def test_the_openstack_client_waits_for_such_an_image(vol: VolumeScene, tmp_path: Path) -> None:  # noqa: F811
    clients = Clients(vol.scene.stage.keystone, ALICE, tmp_path)
    with vol.options(cinder=SNAPSHOTS):
        image = clients.openstack("server", "image", "create", "--wait", "--name", "golden", "vol")
    assert (image["status"], image["size"]) == ("active", 0)
    assert len(json.loads(image["properties"]["block_device_mapping"])) == 2


def refused(vol: VolumeScene, status: int, code: str, **metadata: str) -> None:  # noqa: F811
    """createImage is answered so, and leaves nothing."""
    answer = vol.create(**metadata)
    assert answer.status_code == status, answer.text
    [shown] = vol.scene.service.get("/v2.1/captures?limit=1").body["captures"]
    shown = captures.ended(vol.scene.service, shown["id"])
    assert (shown["status"], shown["fault"]["code"]) == ("failed", code)
    vol.untouched()
    vol.scene.only("base")
    assert vol.guest.agent("guest-fsfreeze-status") == "thawed"


def test_cinders_quota_is_a_403_and_the_first_snapshot_is_undone(vol: VolumeScene) -> None:  # noqa: F811
    vol.cinder.quota("red", snapshots=1)
    try:
        with vol.options(cinder=SNAPSHOTS):
            refused(vol, 403, "volume-quota-exceeded")
    finally:
        vol.cinder.quota("red", snapshots=10)


def test_a_cinder_that_is_down_is_told_before_anything_is_done(vol: VolumeScene) -> None:  # noqa: F811
    with vol.options(cinder=SNAPSHOTS):
        vol.cinder.api.kill()
        try:
            answer = vol.create()
        finally:
            vol.cinder.api.start()
    assert answer.status_code == 503
    assert "volume service" in answer.text
    assert [image.name for image in vol.scene.images()] == ["base"]


def test_without_cinder_a_root_volume_still_becomes_a_real_image(vol: VolumeScene) -> None:  # noqa: F811
    vol.cinder.api.kill()
    try:
        shown = captures.completed(vol.scene.service, vol.create().json()["image_id"], 120)
    finally:
        vol.cinder.api.start()
    assert "nothing is known of its root volume" in captures.told(shown)


def test_snapshots_that_take_too_long_let_the_guest_go_on_and_are_undone(vol: VolumeScene) -> None:  # noqa: F811
    with vol.options(cinder=SNAPSHOTS, capture={"freeze_timeout": 3}):
        vol.cinder.volume.send(signal.SIGSTOP)
        try:
            answer = vol.create()
            assert vol.guest.agent("guest-fsfreeze-status") == "thawed"
        finally:
            vol.cinder.volume.send(signal.SIGCONT)
        assert answer.status_code == 504, answer.text
        vol.untouched()
        vol.scene.only("base")


def test_the_hung_agent_of_a_guest_with_several_volumes(vol: VolumeScene) -> None:  # noqa: F811
    """What cannot be frozen is refused, or paused where that is wanted: Cinder takes one snapshot after the other."""
    with vol.options(cinder=SNAPSHOTS, capture={"agent_timeout": 1}):
        vol.guest.hang_agent(60)
        answer = vol.create()
        assert answer.status_code == 409, answer.text
        assert "would not be of one instant: the guest could not be frozen" in answer.text
        vol.guest.wait_for_agent()
        until(lambda: vol.guest.agent("guest-fsfreeze-status") == "thawed", 30, "the thaw")
        vol.untouched()
    with vol.options(cinder=SNAPSHOTS, capture={"agent_timeout": 1, "pause_for_volumes": True}):
        vol.guest.hang_agent(60)
        shown = captures.completed(vol.scene.service, vol.create().json()["image_id"])
        assert shown["consistency"] == "crash"
        assert shown["stopped_ms"] > 0
        assert vol.guest.running
        vol.guest.wait_for_agent()


@pytest.mark.parametrize("wanted", ["yes", "no"])
def test_a_freeze_that_is_required_and_refused(vol: VolumeScene, wanted: str) -> None:  # noqa: F811
    with vol.options(cinder=SNAPSHOTS, capture={"pause_for_volumes": True}):
        vol.guest.agent("guest-fsfreeze-freeze")
        try:
            answer = vol.create(os_require_quiesce=wanted)
            assert vol.guest.agent("guest-fsfreeze-status") == "frozen"  # somebody else's freeze stays
        finally:
            vol.guest.agent("guest-fsfreeze-thaw")
        assert answer.status_code == (409 if wanted == "yes" else 202), answer.text
