"""Captures into a real Glance: what its record says, whose it is, and what is left when something fails."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial

import pytest
import requests

from lab import captures
from lab.faulty import Action, Fault
from lab.openstack.glance import PLAIN
from lab.openstack.keystone import ADMIN
from lab.wait import until
from tests.cloud.scene import ALICE, BOB, RITA, SLOW, Scene


def test_the_record_of_an_image(scene: Scene, base: str) -> None:
    answer = scene.create(color="blue")
    assert answer.status_code == 202, answer.text
    image_id = answer.json()["image_id"]
    reserved = scene.image(image_id, ALICE)
    image = scene.whole(image_id)
    assert reserved.owner == image.owner == scene.stage.keystone.project_id("red")
    assert (image.name, image.visibility, image.disk_format, image.container_format) == (
        "golden",
        "private",
        "raw",
        "bare",
    )
    assert (image.min_disk, image.min_ram, image.size) == (1, 64, 96 << 20)
    properties = image.properties
    assert properties["base_image_ref"] == base
    assert (image.os_distro, image.os_type) == ("debian", "linux")
    assert "cache_in_nova" not in properties
    assert (properties["color"], properties["image_type"], properties["image_location"]) == (
        "blue",
        "snapshot",
        "snapshot",
    )
    assert properties["stillframe_consistency"] == "filesystem"
    raw = scene.cloud().image.get(f"/images/{image_id}").json()
    assert raw["owner_id"] == image.owner
    assert (scene.stage.glance.data[PLAIN] / image_id).stat().st_size == 96 << 20


def test_an_old_client_gets_the_images_url_in_glance(scene: Scene) -> None:
    answer = scene.create(version="2.30")
    assert (answer.status_code, answer.text) == (202, "")
    url, _, image_id = answer.headers["Location"].rpartition("/")
    assert url == f"{scene.proxy.url}/v2/images"
    scene.whole(image_id)


def test_an_upload_says_its_length_before_and_nobody_else_touches_glance(scene: Scene) -> None:
    image_id = scene.begin(format="qcow2")
    image = scene.whole(image_id)
    [put] = [asked for asked in scene.proxy.asked if asked.method == "PUT"]
    assert put.headers["content-length"] == put.headers["x-openstack-image-size"] == str(image.size)
    assert "transfer-encoding" not in put.headers
    assert image.size < 60 << 20


def test_another_projects_administrator_shares_what_he_captures(scene: Scene) -> None:
    image_id = scene.create(ADMIN).json()["image_id"]
    image = scene.whole(image_id)
    red, admin = (scene.stage.keystone.project_id(name) for name in ("red", "admin"))
    assert (image.owner, image.visibility, image.properties["instance_owner"]) == (admin, "shared", red)
    assert [member.id for member in scene.cloud(ADMIN).image.members(image_id)] == [red]


def test_a_409_never_touches_glance(scene: Scene) -> None:
    capture = scene.begin(bandwidth=SLOW)
    captures.moving(scene.service, capture)
    scene.proxy.clear()
    answer = scene.create()
    assert answer.status_code == 409
    assert "task_state image_uploading" in answer.json()["conflictingRequest"]["message"]
    assert [asked for asked in scene.proxy.asked if asked.method == "POST"] == []
    scene.ask(ALICE, "DELETE", f"/v2.1/captures/{capture}")
    scene.gone(capture)


@pytest.mark.parametrize(
    ("status", "answered", "code"), [(403, 403, "image-forbidden"), (413, 403, "image-quota-exceeded")]
)
def test_what_glance_says_against_the_record_is_the_answer(scene: Scene, status: int, answered: int, code: str) -> None:
    scene.proxy.refuse("POST", "/images", status)
    answer = scene.create()
    assert answer.status_code == answered
    assert answer.json()["forbidden"]["error"] == code
    assert "said by the test" in answer.json()["forbidden"]["message"]
    assert captures.known(scene.service, scene.guest)["OS-EXT-STS:task_state"] is None
    [shown, *_] = scene.service.get("/v2.1/captures").body["captures"]
    assert shown["status"] == "failed"
    assert scene.image(shown["id"]) is None


def test_deleting_the_image_ends_its_capture_within_seconds(scene: Scene) -> None:
    capture = scene.begin(bandwidth=1 << 20)
    captures.moving(scene.service, capture)
    scene.cloud().image.delete_image(capture, ignore_missing=False)
    shown = captures.ended(scene.service, capture, 10)
    assert (shown["status"], shown["fault"]["code"]) == ("cancelled", "image-deleted")
    assert captures.known(scene.service, scene.guest)["OS-EXT-STS:task_state"] is None


def test_cancelling_the_capture_deletes_its_image(scene: Scene) -> None:
    capture = scene.begin(bandwidth=SLOW)
    captures.moving(scene.service, capture)
    assert scene.image(capture).status == "saving"
    assert scene.ask(ALICE, "DELETE", f"/v2.1/captures/{capture}").status_code == 202
    scene.gone(capture)
    until(lambda: not list(scene.stage.glance.data[PLAIN].glob(capture)), 10, "Glance to forget its bytes")


@pytest.mark.parametrize("status", [500, 503, 409, 410])
def test_an_upload_that_is_answered_in_mid_flight_begins_again_from_the_same_instant(scene: Scene, status: int) -> None:
    fault = scene.proxy.uploads(status, after=20 << 20)
    capture = scene.begin()
    image = scene.whole(capture)
    assert fault.done.is_set()
    shown = captures.record(scene.service, capture)
    assert shown["attempt"] == 1
    assert [step for step in shown["steps"] if f"again: The upload of image {capture} was cut off" in step["message"]]
    instants = (image.properties["stillframe_captured_at"], shown["captured_at"])
    assert len({datetime.fromisoformat(instant) for instant in instants}) == 1


def test_an_upload_that_is_cut_off_begins_again(scene: Scene) -> None:
    scene.proxy.uploads(after=20 << 20, times=2)
    scene.whole(scene.begin())
    assert len([asked for asked in scene.proxy.asked if asked.method == "PUT"]) == 3


@pytest.mark.parametrize("point", ["call.commit.before", "image.publish.before", "image.publish.after"])
def test_killed_around_the_last_bytes_it_goes_on_and_there_is_one_image(scene: Scene, point: str) -> None:
    scene.plan.arm(Fault(point, Action.KILL))
    capture = scene.begin()
    until(lambda: not scene.service.running, 60, f"the service to be killed at {point}")
    scene.service.kill()
    scene.service.start()
    scene.whole(capture)
    scene.only("base", "golden")
    assert captures.left_behind(scene.service, scene.guest) == []


def test_a_store_that_is_full_fails_the_capture_in_its_words(scene: Scene) -> None:
    scene.proxy.uploads(413, after=20 << 20)
    capture = scene.begin()
    shown = captures.failed(scene.service, capture, "image-quota-exceeded")
    assert "said by the test" in shown["fault"]["message"]
    scene.gone(capture)


def test_a_token_that_is_revoked_in_mid_upload_does_not_matter(scene: Scene) -> None:
    capture = scene.begin(bandwidth=SLOW)
    captures.moving(scene.service, capture)
    [put] = [asked for asked in scene.proxy.asked if asked.method == "PUT"]
    keystone = scene.cloud(ADMIN).session
    keystone.delete(
        f"{scene.stage.keystone.url}/v3/auth/tokens", headers={"X-Subject-Token": put.headers["x-auth-token"]}
    )
    scene.whole(capture)


def test_a_glance_that_is_killed_in_mid_upload_leaves_nothing(scene: Scene) -> None:
    """Glance keeps such an image `saving` for good: nobody can upload into it, so the capture ends saying so."""
    capture = scene.begin(bandwidth=SLOW)
    captures.moving(scene.service, capture)
    scene.stage.glance.restart()
    captures.failed(scene.service, capture, "image-stuck")
    scene.gone(capture)
    assert captures.left_behind(scene.service, scene.guest) == []


def test_a_glance_that_hangs_fails_the_capture_and_is_tidied_when_it_is_back(scene: Scene) -> None:
    capture = scene.begin(bandwidth=SLOW)
    captures.moving(scene.service, capture)
    scene.stage.glance.freeze()
    try:
        shown = captures.ended(scene.service, capture, 150)
    finally:
        scene.stage.glance.thaw()
    assert (shown["status"], shown["fault"]["code"]) == ("failed", "deadline-exceeded")
    scene.gone(capture, 60)
    assert captures.left_behind(scene.service, scene.guest) == []


def test_a_keystone_that_is_away_in_mid_upload_is_not_missed(scene: Scene) -> None:
    """Glance has checked our tokens before, and what it has not is asked until Keystone is back."""
    capture = scene.begin(bandwidth=SLOW)
    captures.moving(scene.service, capture)
    scene.stage.keystone.restart(between=lambda: captures.ended(scene.service, capture))
    scene.whole(capture)
    assert captures.left_behind(scene.service, scene.guest) == []


def unchecked(scene: Scene) -> Callable[[], requests.Response]:
    """A createImage with a token that nobody has checked yet."""
    headers = {"X-Auth-Token": scene.cloud().session.get_token() + "x"}
    url = f"http://127.0.0.1:{scene.stage.port}/v2.1/servers/{scene.guest.id}/action"
    return partial(requests.post, url, json={"createImage": {"name": "golden"}}, headers=headers, timeout=90)


def test_a_keystone_that_is_away_is_told_to_who_asks_and_nothing_is_done(scene: Scene) -> None:
    ask, answers = unchecked(scene), []
    scene.stage.keystone.restart(between=lambda: answers.append(ask()))
    assert [answer.status_code for answer in answers] == [503]
    assert scene.at_rest()
    scene.only("base")


def test_a_keystone_that_hangs_is_told_to_who_asks_and_nothing_is_done(scene: Scene) -> None:
    ask = unchecked(scene)
    scene.stage.keystone.freeze()
    try:
        answer = ask()
    finally:
        scene.stage.keystone.thaw()
    assert answer.status_code == 503, answer.text
    assert answer.json()["serviceUnavailable"]["error"] == "keystone-unreachable"
    assert scene.at_rest()
    scene.only("base")


def test_bytes_that_glance_stored_otherwise_fail_the_capture(scene: Scene) -> None:
    scene.proxy.garble = 30 << 20
    capture = scene.begin()
    captures.failed(scene.service, capture, "image-differs")
    scene.gone(capture)


def test_no_token_is_logged(scene: Scene) -> None:
    scene.whole(scene.begin())
    said = scene.service.log()
    for asked in scene.proxy.asked:
        assert asked.headers["x-auth-token"] not in said


# ---------------------------------------------------------------------------------------------------------- who may


def test_who_may_what(scene: Scene) -> None:
    action = f"/v2.1/servers/{scene.guest.id}/action"
    body = {"createImage": {"name": "golden"}}
    assert scene.ask(None, "POST", action, body).status_code == 401
    assert scene.ask(BOB, "POST", action, body).status_code == 404
    assert scene.ask(RITA, "POST", action, body).status_code == 403
    shown = f"/v2.1/servers/{scene.guest.id}"
    assert [scene.ask(user, "GET", shown).status_code for user in (ALICE, RITA, BOB, ADMIN)] == [200, 200, 404, 200]
    assert [image.name for image in scene.images()] == ["base"]
