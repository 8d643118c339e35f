"""The clients that people have: openstackclient, novaclient and openstacksdk, against a real guest without Keystone."""

from __future__ import annotations

import configparser
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import disks
from lab.domains import Guest
from lab.factory import Guests
from lab.libvirtd import PrivateLibvirtd
from lab.service import Service
from lab.wait import until
from tests.real.client_tools import STILLFRAME, Clients, Signature

ADMIN = Signature("alice", "correct horse")
MEMBER = Signature("bob", "battery staple")
SLOW = "512k"  # bytes a second: a capture that lasts as long as a test needs it

once = pytest.mark.parametrize("service", ["none"], indirect=True, scope="module")  # signing in has no part in it
signed = pytest.mark.parametrize("service", ["http_basic"], indirect=True, scope="module")  # all that it takes without


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="sft-", dir="/tmp"))  # sockets need short paths
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def guest(libvirtd: PrivateLibvirtd, directory: Path) -> Iterator[Guest]:
    """A guest with 16 MiB that no hole can hide, so that a slow capture is slow."""
    guests = Guests(libvirtd, directory)
    yield guests.boot(disks.raw(directory / "db.raw", 64 << 20, {"noise": os.urandom(16 << 20)}), name="db")
    guests.remove()


@pytest.fixture(scope="module", params=["none", "http_basic"])
def service(
    request: pytest.FixtureRequest, libvirtd: PrivateLibvirtd, guest: Guest, directory: Path
) -> Iterator[Service]:
    """Served on loopback with this way of signing in."""
    place = directory / request.param
    place.mkdir()
    options = {"listen": f"127.0.0.1:{free_port()}", "auth": request.param}
    if request.param == "http_basic":
        options["password_file"] = str(place / "passwords")
        lines = password_line(ADMIN, "--role", "admin") + password_line(MEMBER)
        (place / "passwords").write_text(lines)
    with Service(place, libvirtd, {"api": options}) as made:
        until(lambda: made.get("/v2.1/servers").body["servers"], 30, "the guest in the service's inventory")
        yield made


def free_port() -> int:
    """A port of the loopback address that nobody had a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def password_line(signature: Signature, *words: str) -> str:
    """Made by the command that the documentation names."""
    argv = [str(STILLFRAME), "password", str(signature.user), *words]
    return subprocess.run(
        argv, input=f"{signature.password}\n", capture_output=True, text=True, timeout=60, check=True
    ).stdout


def root_of(service: Service) -> str:
    """Where it listens, by its own configuration."""
    options = configparser.ConfigParser(interpolation=None)
    options.read(service.config_file)
    return f"http://{options['api']['listen']}"


@pytest.fixture
def clients(service: Service) -> Clients:
    """The administrator's, or everybody's."""
    basic = "http_basic" in service.directory.name
    return Clients(root_of(service), ADMIN if basic else Signature(), service.directory / "clients")


@pytest.fixture(autouse=True)
def tidy(service: Service) -> Iterator[None]:
    """Every test begins and ends without captures under way and without images."""
    yield
    for capture in service.get("/v2.1/captures?status=pending,running,publishing").body["captures"]:
        service.request("DELETE", f"/v2.1/captures/{capture['id']}")
    until(lambda: not under_way(service), 60, "the end of all captures")
    for image in service.get("/image/v2/images").body["images"]:
        service.request("DELETE", f"/image/v2/images/{image['id']}")


def under_way(service: Service) -> list[Any]:
    """Captures that have not ended."""
    listed: list[Any] = service.get("/v2.1/captures?status=pending,running,publishing").body["captures"]
    return listed


def sha256_of(path: Path) -> str:
    """Of a whole file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ------------------------------------------------------------------------------------------------- openstackclient


def test_openstack_lists_and_shows(clients: Clients, guest: Guest) -> None:
    [server] = clients.openstack("server", "list", "-f", "json")
    assert (server["ID"], server["Name"], server["Status"]) == (guest.id, "db", "ACTIVE")
    shown = clients.openstack("server", "show", "db", "-f", "json")
    assert (shown["id"], shown["OS-EXT-STS:vm_state"], shown["OS-EXT-STS:task_state"]) == (guest.id, "active", None)
    assert [flavor["RAM"] for flavor in clients.openstack("flavor", "list", "-f", "json")] == [128]
    assert clients.openstack("image", "list", "-f", "json") == []


@signed
def test_openstack_server_image_create_wait_and_save(clients: Clients, guest: Guest) -> None:
    words = ("--wait", "--name", "golden", "--property", "color=blue", "db", "-f", "json")
    image = clients.openstack("server", "image", "create", *words)
    assert (image["name"], image["status"]) == ("golden", "active")
    properties = image["properties"]
    assert properties["color"] == "blue"
    assert properties["instance_uuid"] == guest.id
    assert properties["stillframe_consistency"] == "filesystem"
    clients.openstack("image", "save", "--file", "golden.raw", "golden")
    assert sha256_of(clients.directory / "golden.raw") == properties["os_hash_value"]
    assert [row["Name"] for row in clients.openstack("image", "list", "-f", "json")] == ["golden"]
    [event, *_] = clients.openstack("server", "event", "list", "db", "-f", "json")
    assert event["Action"] == "createImage"
    shown = clients.openstack("server", "event", "show", "db", event["Request ID"], "-f", "json")
    assert [(each["event"], each["result"]) for each in shown["events"]] == [("compute_snapshot_instance", "Success")]
    clients.openstack("image", "delete", "golden")
    assert clients.openstack("image", "list", "-f", "json") == []


@once
def test_openstack_server_backup_create_rotates(clients: Clients) -> None:
    for name in ("monday", "tuesday"):
        words = ("--name", name, "--type", "daily", "--rotate", "1", "--wait", "db", "-f", "value", "-c", "id")
        image_id = clients.openstack("server", "backup", "create", *words).strip()
        assert clients.openstack("image", "show", image_id, "-f", "json")["status"] == "active"

    def names() -> bool:
        return [row["Name"] for row in clients.openstack("image", "list", "-f", "json")] == ["tuesday"]

    until(names, 60, "the older backup's deletion", pause=1)


# ------------------------------------------------------------------------------------------------------ novaclient


def test_nova_image_create_poll_show(clients: Clients, guest: Guest) -> None:
    assert "| ACTIVE | " in clients.nova("list")
    said = clients.nova("image-create", "--poll", "--show", "--metadata", "color=blue", "db", "golden")
    assert "100% complete" in said
    assert re.search(r"\| status +\| active +\|", said)
    assert re.search(r"\| color +\| blue +\|", said)
    assert re.search(r"\| createImage +\| req-", clients.nova("instance-action-list", "db"))


@once
def test_nova_backup_gives_its_rotation_as_a_string(clients: Clients) -> None:
    clients.nova("backup", "db", "nightly", "daily", "2")
    until(lambda: clients.openstack("image", "show", "nightly", "-f", "json")["status"] == "active", 90, "it", pause=1)


# ------------------------------------------------------------------------------------------------------ openstacksdk

SDK = """
server = cloud.compute.find_server("db", ignore_missing=False)
image = cloud.compute.create_server_image(server, "golden", {"color": "blue"}, wait=True, timeout=90)
image = cloud.image.get_image(image.id)
cloud.image.download_image(image, output=sys.argv[1])
print(json.dumps({
    "id": image.id, "status": image.status, "hash": image.hash_value, "color": image.properties.get("color"),
    "servers": [each.name for each in cloud.list_servers()], "images": [each.name for each in cloud.list_images()],
    "captures": [each["status"] for each in cloud.compute.get("/captures").json()["captures"]],
}))
cloud.image.delete_image(image, ignore_missing=False)
"""


def test_sdk_create_server_image_and_download(clients: Clients) -> None:
    path = clients.directory / "sdk.raw"
    made = clients.sdk(SDK, str(path))
    assert (made["status"], made["color"], made["servers"], made["images"]) == ("active", "blue", ["db"], ["golden"])
    assert made["captures"][0] == "completed"
    assert sha256_of(path) == made["hash"]
    assert clients.openstack("image", "list", "-f", "json") == []


# ---------------------------------------------------------------------------------------------------- all of them


@once
def test_a_server_that_is_being_captured_is_refused_in_novas_words(clients: Clients, guest: Guest) -> None:
    slow = clients.stillframe("server", "image", "create", "db", "--name", "slow", "--bandwidth", SLOW, "-f", "json")
    words = f"Cannot 'createImage' instance {guest.id} while it is in task_state image_"
    assert words in clients.openstack("server", "image", "create", "--name", "second", "db", code=1)
    assert words in clients.nova("image-create", "db", "second", code=1)
    assert words in clients.stillframe("server", "image", "create", "db", "--name", "second", code=4)
    assert clients.openstack("image", "show", slow["id"], "-f", "json")["status"] in ("queued", "saving")
    clients.openstack("image", "delete", slow["id"])  # deleting what is being made cancels it
    until(lambda: not under_way_of(clients, slow["id"]), 60, "the cancelled capture's end", pause=0.5)
    assert clients.openstack("image", "list", "-f", "json") == []


def under_way_of(clients: Clients, capture_id: str) -> bool:
    status = clients.stillframe("capture", "show", capture_id, "-f", "json")["status"]
    assert status in ("pending", "running", "cancelled")
    return bool(status != "cancelled")


@once
def test_unknown_servers_and_images(clients: Clients) -> None:
    assert "nobody" in clients.openstack("server", "image", "create", "--name", "x", "nobody", code=1)
    assert "No server with a name or ID of 'nobody' exists" in clients.nova("image-create", "nobody", "x", code=1)
    assert "nothing" in clients.openstack("image", "show", "nothing", code=1)


def test_who_may_what(service: Service) -> None:
    """A member does not see the administrator's guest; a wrong password sees nothing at all."""
    if service.directory.name != "http_basic":
        assert Clients(root_of(service), Signature(), service.directory / "x").stillframe(
            "server", "list", "-f", "json"
        )
        return
    bob = Clients(root_of(service), MEMBER, service.directory / "bob")
    assert bob.openstack("server", "list", "-f", "json") == []
    assert "No server with a name or ID of 'db' exists" in bob.nova("image-create", "db", "x", code=1)
    wrong = Clients(root_of(service), Signature("alice", "wrong"), service.directory / "wrong")
    assert "401" in wrong.openstack("server", "list", code=1)
    assert "401" in wrong.nova("list", code=1)
    assert "[not-signed-in]" in wrong.stillframe("server", "list", code=6)


# -------------------------------------------------------------------------------------------------------- our own


def test_stillframe_over_http(clients: Clients, guest: Guest) -> None:
    capture = clients.stillframe("server", "image", "create", "db", "--name", "golden", "--wait", "-f", "json")
    assert (capture["status"], capture["server_id"]) == ("completed", guest.id)
    clients.stillframe("image", "save", "golden", "--file", "ours.raw")
    assert sha256_of(clients.directory / "ours.raw") == capture["images"][0]["sha256"]
    assert [row["Status"] for row in clients.stillframe("capture", "list", "--limit", "1", "-f", "json")] == [
        "completed"
    ]


@once
def test_ctrl_c_while_waiting_lets_the_capture_go_on(service: Service, guest: Guest) -> None:
    argv = [str(STILLFRAME), "server", "image", "create", "db", "--name", "slow", "--bandwidth", SLOW, "--wait"]
    with subprocess.Popen(argv, env=service.client(), stderr=subprocess.PIPE, text=True) as process:
        until(lambda: under_way(service), 30, "the capture")
        [capture] = under_way(service)
        until(lambda: state(service, capture["id"])["progress"]["bytes_done"], 60, "the first bytes")
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert f"`stillframe capture cancel {capture['id']}` ends it" in said
    assert state(service, capture["id"])["status"] == "running"
    service.cli("capture", "cancel", capture["id"])
    watched = service.cli("capture", "watch", capture["id"], check=False)
    assert watched.returncode == 1
    assert "was cancelled" in watched.stderr
    assert guest.running


def state(service: Service, capture_id: str) -> Any:
    """The capture's record."""
    return service.get(f"/v2.1/captures/{capture_id}").body["capture"]
