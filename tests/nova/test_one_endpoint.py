"""Nova's clients, for whom Stillframe's endpoint is the cloud's."""

from __future__ import annotations

import json

from lab.openstack.nova import Nova
from lab.wait import until
from tests.cloud.clients import Clients
from tests.cloud.scene import ALICE, BOB, Scene
from tests.nova.conftest import FLAVOR


def status(clients: Clients) -> str:
    return str(clients.openstack("server", "show", "db")["status"])


def test_servers_are_as_nova_knows_them(clients: Clients, scene: Scene) -> None:
    [listed] = clients.openstack("server", "list")
    assert (listed["ID"], listed["Name"], listed["Status"]) == (scene.guest.id, "db", "ACTIVE")
    assert (listed["Flavor"], listed["Image"]) == (FLAVOR, "base")
    assert [each["Name"] for each in clients.openstack("flavor", "list")] == [FLAVOR]
    said = clients.run("nova", "show", "db")
    assert FLAVOR in said
    assert scene.guest.id in said


def test_actions_of_novas(clients: Clients) -> None:
    clients.run("openstack", "server", "stop", "db")
    until(lambda: status(clients) == "SHUTOFF", 60, "the server to be stopped", pause=1)
    clients.run("openstack", "server", "start", "db")
    until(lambda: status(clients) == "ACTIVE", 60, "the server to be started", pause=1)
    clients.run("openstack", "server", "set", "--property", "color=blue", "db")
    assert clients.openstack("server", "show", "db")["properties"] == {"color": "blue"}
    clients.run("nova", "meta", "db", "delete", "color")
    assert clients.openstack("server", "show", "db")["properties"] == {}


def test_other_things_of_novas(clients: Clients) -> None:
    clients.run("openstack", "keypair", "create", "--type", "ssh", "my key", "--private-key", "key")
    assert [each["Name"] for each in clients.openstack("keypair", "list")] == ["my key"]
    clients.run("openstack", "keypair", "delete", "my key")
    assert clients.openstack("keypair", "list") == []


def test_what_nova_refuses_is_refused_in_its_words(scene: Scene) -> None:
    answer = scene.ask(ALICE, "GET", "/v2.1/os-hypervisors")
    assert (answer.status_code, list(answer.json())) == (403, ["forbidden"])
    assert scene.ask(None, "GET", "/v2.1/servers").status_code == 401
    assert scene.ask(BOB, "GET", f"/v2.1/servers/{scene.guest.id}").status_code == 404
    assert scene.ask(ALICE, "GET", "/v2.1/servers?limit=x").status_code == 400
    assert scene.ask(ALICE, "GET", "/v2.1/servers", version="2.999").status_code == 406


def test_links_lead_to_the_endpoint_that_was_asked(scene: Scene) -> None:
    shown = scene.ask(ALICE, "GET", f"/v2.1/servers/{scene.guest.id}").json()["server"]
    href = f"http://127.0.0.1:{scene.stage.port}/v2.1/servers/{scene.guest.id}"
    assert href in [link["href"] for link in shown["links"]]


def test_images_are_ours(clients: Clients, scene: Scene) -> None:
    image = clients.openstack("server", "image", "create", "--wait", "--name", "golden", "db")
    assert (image["status"], image["properties"]["instance_uuid"]) == ("active", scene.guest.id)
    assert image["properties"]["stillframe_consistency"] == "filesystem"
    backup = clients.openstack(
        "server", "backup", "create", "--name", "monday", "--type", "daily", "--rotate", "1", "--wait", "db"
    )
    assert scene.whole(backup["id"]).properties["image_type"] == "backup"
    events = [each["Action"] for each in clients.openstack("server", "event", "list", "db")]
    assert {"createImage", "createBackup", "create", "stop"} <= set(events)
    request = scene.service.get(f"/v2.1/captures/{image['id']}").body["capture"]["request_id"]
    event = clients.openstack("server", "event", "show", "db", request)
    assert event["action"] == "createImage"
    assert "100% complete" in clients.run("nova", "image-create", "--poll", "db", "silver")


SDK = """
import json, openstack
compute = openstack.connect().compute
server = compute.find_server("db", ignore_missing=False)
image = compute.create_server_image(server, "golden", wait=True, timeout=120)
names = [each.name for each in compute.flavors()]
print(json.dumps({"status": image.status, "flavors": names, "actions": len(list(compute.server_actions(server)))}))
"""


def test_the_sdk(clients: Clients) -> None:
    told = json.loads(clients.run("python", "-c", SDK))
    assert (told["status"], told["flavors"]) == ("active", [FLAVOR])
    assert told["actions"] > 1


def test_nova_away(scene: Scene, nova: Nova) -> None:
    nova.kill()
    try:
        answer = scene.ask(ALICE, "GET", "/v2.1/servers")
        assert (answer.status_code, answer.json()["computeFault"]["error"]) == (502, "nova-unreachable")
        answer = scene.create()
        assert (answer.status_code, answer.json()["computeFault"]["error"]) == (502, "nova-unreachable")
        assert scene.ask(ALICE, "GET", "/v2.1/captures").status_code == 200
    finally:
        nova.start_api()
    assert scene.ask(ALICE, "GET", "/v2.1/servers").status_code == 200
