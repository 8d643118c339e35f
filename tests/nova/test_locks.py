"""Nova's server while it is captured."""

from __future__ import annotations

import time

from lab import captures
from lab.openstack.nova import Nova
from lab.wait import until
from tests.cloud.clients import Clients
from tests.cloud.scene import ALICE, Scene
from tests.nova.conftest import unlocked

CRAWL = 1 << 20  # bytes a second: most of a minute for the guest's disk, in which clients and Nova may take their time


def test_users_are_told_why_they_have_to_wait(clients: Clients, scene: Scene, nova: Nova) -> None:
    capture = scene.begin(bandwidth=CRAWL)
    captures.moving(scene.service, capture)
    server = nova.compute().get_server(scene.guest.id)
    assert (server.is_locked, server.locked_reason) == (True, f"Stillframe is saving it as image {capture}")
    shown = scene.ask(ALICE, "GET", f"/v2.1/servers/{scene.guest.id}").json()["server"]
    assert shown["OS-EXT-STS:task_state"] == "image_uploading"
    assert "is locked" in clients.run("openstack", "server", "stop", "db", code=1)
    assert scene.ask(ALICE, "POST", f"/v2.1/servers/{scene.guest.id}/action", {"unlock": None}).status_code == 403
    scene.service.request("DELETE", f"/v2.1/captures/{capture}")
    captures.ended(scene.service, capture)
    unlocked(nova, scene.guest.id)


def test_a_users_own_lock_stays(scene: Scene, nova: Nova) -> None:
    compute = nova.compute(ALICE)
    compute.lock_server(scene.guest.id, locked_reason="mine")
    scene.whole(scene.begin())
    server = nova.compute().get_server(scene.guest.id)
    assert (server.is_locked, server.locked_reason) == (True, "mine")
    compute.unlock_server(scene.guest.id)


def test_what_nova_has_begun_comes_first(scene: Scene, nova: Nova) -> None:
    capture = scene.begin(bandwidth=CRAWL)
    captures.moving(scene.service, capture)
    with nova.standing_still("compute"):  # so that it takes its time
        nova.compute().suspend_server(scene.guest.id)
        begun = time.monotonic()
        captures.failed(scene.service, capture, "nova-interferes", 30)
        assert time.monotonic() - begun < 10
        assert scene.guest.agent("guest-fsfreeze-status") == "thawed"
        assert scene.guest.on_domain(lambda domain: domain.jobInfo()[0]) == 0
        refused = scene.create()
        assert refused.status_code == 409
        words = f"Cannot 'createImage' instance {scene.guest.id} while it is in task_state suspending"
        assert refused.json()["conflictingRequest"]["message"] == words
    compute = nova.compute()
    until(lambda: compute.get_server(scene.guest.id).status == "SUSPENDED", 60, "Nova to suspend", pause=0.5)
    compute.resume_server(scene.guest.id)
    until(lambda: compute.get_server(scene.guest.id).status == "ACTIVE", 60, "Nova to resume", pause=0.5)


def test_a_service_that_is_killed_gives_the_lock_back_later(scene: Scene, nova: Nova) -> None:
    capture = scene.begin(bandwidth=CRAWL)
    captures.moving(scene.service, capture)
    scene.service.kill()
    assert nova.compute().get_server(scene.guest.id).is_locked
    scene.service.start()
    scene.service.request("DELETE", f"/v2.1/captures/{capture}")
    captures.ended(scene.service, capture)
    unlocked(nova, scene.guest.id)
