"""One project never sees another's, at any URL; and what each role may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from stillframe.api import routes
from tests.unit.api.api_house import LOOSE, ONE, House


@dataclass
class Scene:
    """Something of everything in the project red: a server, a capture under way, an image."""

    house: House
    pending: str
    published: str
    request_id: str

    def url(self, template: str, *, pending: bool) -> str:
        names = {
            "server_id": ONE,
            "request_id": self.request_id,
            "flavor_id": "m1.tiny",
            "capture_id": self.pending if pending else self.published,
            "image_id": self.pending if pending else self.published,
        }
        return template.format(**names)


@pytest.fixture
def scene(house: House) -> Scene:
    published = house.create_image(name="red-image")
    house.complete(published)
    pending = house.create_image(name="red-pending")
    return Scene(house, pending, published, house.deps.captures.get(published, None).request_id)


COMPUTE = [
    ("/v2.1", "GET", "/servers"),
    ("/v2.1", "GET", "/servers/detail"),
    ("/v2.1", "GET", "/servers/{server_id}"),
    ("/v2.1", "POST", "/servers/{server_id}/action"),
    ("/v2.1", "GET", "/servers/{server_id}/os-instance-actions"),
    ("/v2.1", "GET", "/servers/{server_id}/os-instance-actions/{request_id}"),
    ("/v2.1", "GET", "/flavors"),
    ("/v2.1", "GET", "/flavors/detail"),
    ("/v2.1", "GET", "/flavors/{flavor_id}"),
    ("/v2.1", "GET", "/limits"),
    ("/v2.1", "GET", "/captures"),
    ("/v2.1", "POST", "/captures"),
    ("/v2.1", "GET", "/captures/{capture_id}"),
    ("/v2.1", "DELETE", "/captures/{capture_id}"),
]
IMAGE = [
    ("/image/v2", "GET", "/images"),
    ("/image/v2", "GET", "/images/{image_id}"),
    ("/image/v2", "DELETE", "/images/{image_id}"),
    ("/image/v2", "GET", "/images/{image_id}/file"),
    ("/image/v2", "GET", "/schemas/image"),
    ("/image/v2", "GET", "/schemas/images"),
]
ALL = COMPUTE + IMAGE + [("/v2.1/v2", method, template) for _, method, template in IMAGE]
WRITES = ("POST", "DELETE")
BODIES: dict[str, Any] = {
    "/servers/{server_id}/action": {"createImage": {"name": "n"}},
    "/captures": {"capture": {"server_id": ONE, "name": "n"}},
}


def ask(scene: Scene, who: str | None, root: str, method: str, template: str, *, pending: bool) -> Any:
    url = root + scene.url(template, pending=pending)
    if method == "POST":
        return scene.house.post(who, url, BODIES[template], version="2.84")
    return scene.house.ask(who, method, url, version="2.84")


def test_every_route_is_tried_here(house: House) -> None:
    from stillframe.api.policy import Policy  # noqa: PLC0415

    policy = Policy(house.deps.settings.oslo)
    made = {(method, path) for path, methods in routes.compute(house.deps, policy).items() for method in methods}
    made |= {
        (method, path) for path, methods in routes.image(house.deps, house.store, policy).items() for method in methods
    }
    assert made == {(method, path) for _, method, path in ALL}


@pytest.mark.parametrize("pending", [True, False])
@pytest.mark.parametrize(("root", "method", "template"), ALL)
def test_nobody_unsigned_gets_in(scene: Scene, root: str, method: str, template: str, *, pending: bool) -> None:
    answer = ask(scene, None, root, method, template, pending=pending)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert answer.json["unauthorized"]["error"] == "not-signed-in"


@pytest.mark.parametrize("who", ["bob", "bess", "mona"])
@pytest.mark.parametrize("pending", [True, False])
@pytest.mark.parametrize(("root", "method", "template"), ALL)
def test_other_projects_see_nothing(
    scene: Scene, who: str, root: str, method: str, template: str, *, pending: bool
) -> None:
    answer = ask(scene, who, root, method, template, pending=pending)
    if "{" in template or method in WRITES:
        assert answer.status_code in (403, 404)
    asked = scene.url(template, pending=pending)  # what was asked for may be named in the refusal
    for secret in ('"red"', "web1", "host1", "m1.tiny", scene.published, scene.pending):
        assert secret in asked or secret not in answer.text
    assert scene.house.store.get(scene.published).id == scene.published
    assert scene.house.deps.captures.get(scene.pending, None).status == "pending"


@pytest.mark.parametrize(("root", "method", "template"), ALL)
def test_a_reader_of_the_project_reads_and_writes_nothing(scene: Scene, root: str, method: str, template: str) -> None:
    answer = ask(scene, "rita", root, method, template, pending=False)
    forbidden = method in WRITES or template.endswith("/file")
    assert answer.status_code == (403 if forbidden else 200), answer.text
    assert scene.house.store.get(scene.published).id == scene.published


@pytest.mark.parametrize(("root", "method", "template"), ALL)
def test_a_role_that_means_nothing_may_nothing(scene: Scene, root: str, method: str, template: str) -> None:
    answer = ask(scene, "rob", root, method, template, pending=False)
    free = ("/limits", "/flavors", "/flavors/detail", "/flavors/{flavor_id}", "/schemas/image", "/schemas/images")
    assert answer.status_code == (200 if template in free else 403), answer.text


@pytest.mark.parametrize(("root", "method", "template"), ALL)
def test_an_administrator_may_everything(scene: Scene, root: str, method: str, template: str) -> None:
    answer = ask(scene, "admin", root, method, template, pending=False)
    conflict = method == "POST" or (template == "/captures/{capture_id}" and method == "DELETE")
    assert answer.status_code == 409 if conflict else answer.status_code in (200, 204)


def test_a_user_cannot_name_their_project_like_what_has_no_owner(house: House) -> None:
    assert house.get("mona", f"/v2.1/servers/{LOOSE}").status_code in (403, 404)
