"""Nova's clients, which sign in at Keystone and find Stillframe and Glance in its catalogue."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from tests.cloud.clients import Clients
from tests.cloud.scene import ALICE, BOB, Scene


@pytest.fixture
def clients(scene: Scene, tmp_path: Path) -> Clients:
    return Clients(scene.stage.keystone, ALICE, tmp_path)


def sha512_of(path: Path) -> str:
    """Of a whole file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha512").hexdigest()


def test_openstack_server_image_create_wait(clients: Clients, scene: Scene) -> None:
    listed = {server["ID"]: server for server in clients.openstack("server", "list")}  # others' guests may run too
    assert (listed[scene.guest.id]["Name"], listed[scene.guest.id]["Status"]) == ("db", "ACTIVE")
    image = clients.openstack(
        "server", "image", "create", "--wait", "--name", "golden", "--property", "color=blue", "db"
    )
    assert (image["name"], image["status"], image["properties"]["color"]) == ("golden", "active", "blue")
    assert image["properties"]["instance_uuid"] == scene.guest.id
    clients.run("openstack", "image", "save", "--file", "golden.raw", "golden")
    assert sha512_of(clients.directory / "golden.raw") == image["properties"]["os_hash_value"]
    [event, *_] = clients.openstack("server", "event", "list", "db")
    assert event["Action"] == "createImage"


def test_nova_image_create_show_poll(clients: Clients) -> None:
    said = clients.run("nova", "image-create", "--show", "--poll", "--metadata", "color=blue", "db", "golden")
    assert "100% complete" in said
    assert re.search(r"\| status +\| active +\|", said)
    assert re.search(r"\| color +\| blue +\|", said)


SDK = """
import json, openstack
cloud = openstack.connect()
server = cloud.compute.find_server("db", ignore_missing=False)
image = cloud.compute.create_server_image(server, "golden", {"color": "blue"}, wait=True, timeout=90)
image = cloud.image.get_image(image.id)
cloud.image.download_image(image, output="sdk.raw")
print(json.dumps({"status": image.status, "hash": image.hash_value, "color": image.properties["color"]}))
"""


def test_sdk_create_server_image_wait(clients: Clients) -> None:
    made = json.loads(clients.run("python", "-c", SDK))
    assert (made["status"], made["color"]) == ("active", "blue")
    assert sha512_of(clients.directory / "sdk.raw") == made["hash"]


def test_openstack_server_backup_create_rotates(clients: Clients, scene: Scene) -> None:
    for name in ("monday", "tuesday"):
        words = ("--name", name, "--type", "daily", "--rotate", "1", "--wait", "db")
        made = clients.openstack("server", "backup", "create", *words)
        assert scene.image(made["id"]).status == "active"
    scene.only("base", "tuesday")


def test_another_project_sees_nothing(scene: Scene, tmp_path: Path) -> None:
    bob = Clients(scene.stage.keystone, BOB, tmp_path)
    assert bob.openstack("server", "list") == []
    assert "No server with a name or ID of 'db' exists" in bob.run("nova", "image-create", "db", "x", code=1)
