"""Every URL, asked by nobody, another project's member, a reader and a member: right answers, nothing leaked."""

from __future__ import annotations

import pytest

from lab import captures
from lab.openstack.keystone import User
from tests.cloud.scene import ALICE, BOB, RITA, SLOW, Scene

PATHS = (
    "/v2.1/servers",
    "/v2.1/servers/detail",
    "/v2.1/servers/{server}",
    "/v2.1/servers/{server}/os-instance-actions",
    "/v2.1/servers/{server}/os-instance-actions/{request}",
    "/v2.1/captures",
    "/v2.1/captures/{capture}",
    "/v2.1/flavors",
    "/v2.1/flavors/detail",
    "/v2.1/limits",
    "/metrics",
)
ADMINISTRATORS = ("/metrics",)
NAMED = ("{server}", "{capture}")
WRITES = (
    ("POST", "/v2.1/servers/{server}/action", {"createImage": {"name": "golden"}}),
    ("POST", "/v2.1/servers/{server}/action", {"createBackup": {"name": "b", "backup_type": "daily", "rotation": 1}}),
    ("POST", "/v2.1/captures", {"capture": {"server_id": "{server}", "name": "golden"}}),
    ("DELETE", "/v2.1/captures/{capture}", None),
)


@pytest.fixture(scope="module")
def names(request: pytest.FixtureRequest) -> dict[str, str]:
    """Filled by the first test that has a scene."""
    return {}


@pytest.fixture
def known(scene: Scene, names: dict[str, str]) -> dict[str, str]:
    """A server of Alice's project and one of its captures."""
    if not names:
        capture = scene.begin()
        shown = captures.completed(scene.service, capture)
        names.update(server=scene.guest.id, capture=capture, request=shown["request_id"])
    return names


def expected(user: User | None, path: str) -> int:
    if user is None:
        return 401
    if path in ADMINISTRATORS:
        return 403
    return 404 if user is BOB and any(name in path for name in NAMED) else 200


@pytest.mark.parametrize("user", [None, ALICE, RITA, BOB], ids=["nobody", "alice", "rita", "bob"])
def test_what_may_be_read(scene: Scene, known: dict[str, str], user: User | None) -> None:
    for path in PATHS:
        answer = scene.ask(user, "GET", path.format(**known))
        assert (path, answer.status_code) == (path, expected(user, path))
        if user in (None, BOB):
            assert scene.stage.keystone.project_id("red") not in answer.text
            assert "{server}" in path or scene.guest.id not in answer.text
        if user is None:
            assert answer.headers["WWW-Authenticate"].startswith("Keystone uri=")


@pytest.mark.parametrize(("user", "status"), [(None, 401), (RITA, 403), (BOB, 404)], ids=["nobody", "rita", "bob"])
def test_what_may_be_done(scene: Scene, known: dict[str, str], user: User | None, status: int) -> None:
    running = scene.begin(bandwidth=SLOW)
    captures.moving(scene.service, running)
    for method, path, body in WRITES:
        names = known | {"capture": running}
        filled = None if body is None else {
            key: {name: value.format(**names) if isinstance(value, str) else value for name, value in inner.items()}
            for key, inner in body.items()
        }  # fmt: skip
        answer = scene.ask(user, method, path.format(**names), filled)
        assert (method, path, answer.status_code) == (method, path, status)
    assert captures.completed(scene.service, running)["status"] == "completed"
