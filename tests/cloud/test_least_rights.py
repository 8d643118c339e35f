"""Three services, each with no more than it needs: an agent may upload data into Glance, and nothing else there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from lab import captures, disks
from lab.ceph import CephCluster
from lab.cloud import Cloud
from lab.domains import NovaMetadata
from lab.factory import Guests
from lab.libvirtd import PrivateLibvirtd
from lab.openstack.glance import OTHER
from lab.openstack.keystone import USERS
from lab.openstack.stage import AGENT, CONTROLLER
from lab.service import Options
from lab.wait import until
from tests.cloud.scene import Scene
from tests.real import rbd_tools as ceph_lab

ALICE = USERS[0]


@pytest.fixture
def cloud(scene: Scene, libvirtd: PrivateLibvirtd) -> Iterator[Cloud]:
    """Beside the same Keystone and Glance; its API listens where the other one's did."""
    options = scene.stage.options(backends=OTHER, timeout=30)  # where it cannot be asked, no location is registered
    common: Options = {group: options[group] for group in ("images", "glance")}
    scene.service.stop()
    with ExitStack() as stack:
        stack.callback(scene.service.start)
        made = Cloud(scene.service.directory.parent / "cloud", [libvirtd], common)
        by_part = {
            made.api: {group: options[group] for group in ("api", "keystone_authtoken")},
            made.controllers[0]: {"service_user": scene.stage.options(CONTROLLER)["service_user"]},
            made.agents[0]: {"service_user": scene.stage.options(AGENT)["service_user"]},
        }
        for part, own in by_part.items():
            with part.config_file.open("a") as file:
                for group, values in own.items():
                    file.write(f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in values.items()))
        yield stack.enter_context(made)


def test_each_service_does_its_part_with_what_it_may(scene: Scene, cloud: Cloud) -> None:
    api = cloud.api
    captures.known(api, scene.guest)
    capture = scene.begin()
    shown = captures.completed(api, capture)
    assert shown["transfer"] == "upload"
    image = scene.image(capture)
    raw = scene.cloud().image.get(f"/images/{capture}").json()
    assert (raw["status"], raw["stores"]) == ("active", OTHER)
    assert image.hash_value == scene.sha512(capture)

    scene.ask(ALICE, "DELETE", f"/v2.1/captures/{scene.begin(bandwidth=1 << 20)}")
    captures.known(api, scene.guest)

    headers = {"X-Auth-Token": scene.stage.keystone.connect(AGENT).session.get_token()}
    url = f"{scene.stage.glance.url}/v2/images/{capture}"
    patch = [{"op": "replace", "path": "/name", "value": "mine"}]
    kind = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
    assert requests.get(url, headers=headers, timeout=30).status_code == 200
    assert requests.delete(url, headers=headers, timeout=30).status_code == 403
    assert requests.patch(url, json=patch, headers=headers | kind, timeout=30).status_code == 403
    assert requests.post(f"{url}/members", json={"member": "x"}, headers=headers, timeout=30).status_code == 403
    assert scene.image(capture).name == "golden"


def test_a_location_is_the_controllers_to_tell(
    scene: Scene, cloud: Cloud, guests: Guests, ceph: CephCluster, tmp: Path
) -> None:
    before = ceph.contents()
    disk = replace(ceph.disk(disks.raw(tmp / "d.raw", 64 << 20, {"a": "b"}), "least"), target="vda")
    red = NovaMetadata(name="db", project_id=scene.stage.keystone.project_id("red"))
    guest = guests.define(disk, nova=red)
    captures.known(cloud.api, guest)

    capture = replace(scene, guest=guest).begin()

    shown = captures.completed(cloud.api, capture)
    assert (shown["source"], shown["transfer"]) == ("snapshot", "clone"), shown["steps"]
    assert scene.locations(capture) == [f"rbd://{ceph.fsid}/vms/{capture}/snap"]
    until(lambda: not captures.record(cloud.api, capture)["held"], 60, "the clone to be flat")
    scene.deleted(capture)
    ceph_lab.removed(ceph, disk)
    ceph_lab.same(ceph, before)
