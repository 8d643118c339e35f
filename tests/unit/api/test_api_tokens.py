from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import falcon
import pytest
from falcon.testing import TestClient, create_environ
from prometheus_client import CollectorRegistry

from stillframe import config
from stillframe.api import tokenguard, tokens
from stillframe.api.app import application
from stillframe.api.auth import PEER_UID, sign_in
from stillframe.api.call import Caller
from stillframe.errors.glance import ProjectNeeded
from stillframe.errors.request import NotSignedIn
from stillframe.errors.service import ConfigInvalid
from stillframe.images.glance import Access
from tests.unit.api.api_house import House

CONFIRMED = {"X-Identity-Status": "Confirmed", "X-User-Id": "u1", "X-Project-Id": "p1", "X-Roles": "Member,reader"}
STRANGER = 54321  # a uid that is neither root's nor ours


def request(headers: dict[str, str], peer: int | None = None) -> falcon.Request:
    environ = create_environ("/v2.1/servers", headers=headers)
    return falcon.Request(environ | ({} if peer is None else {PEER_UID: peer}))


def settings(tmp_path: Path, text: str = "[api]\nauth = keystone\n") -> config.Settings:
    file = tmp_path / "stillframe.conf"
    file.write_text(text)
    return config.load(files=[file])


@pytest.fixture
def who(tmp_path: Path) -> Callable[[falcon.Request], Caller]:
    return sign_in(settings(tmp_path).api)


def test_a_callers_roles_are_those_that_keystone_says(who: Callable[[falcon.Request], Caller]) -> None:
    assert who(request(CONFIRMED)) == Caller("u1", "p1", frozenset({"member", "reader"}))


@pytest.mark.parametrize("status", ["Invalid", ""])
def test_a_token_that_is_not_good_is_none(who: Callable[[falcon.Request], Caller], status: str) -> None:
    with pytest.raises(NotSignedIn):
        who(request(CONFIRMED | {"X-Identity-Status": status}))


def test_a_token_for_no_project_would_own_what_has_no_owner(who: Callable[[falcon.Request], Caller]) -> None:
    with pytest.raises(ProjectNeeded):
        who(request({name: value for name, value in CONFIRMED.items() if name != "X-Project-Id"}))


def test_the_administrator_of_the_host_needs_no_token(who: Callable[[falcon.Request], Caller]) -> None:
    assert "admin" in who(request({}, peer=os.geteuid())).roles
    with pytest.raises(NotSignedIn):
        who(request({}, peer=STRANGER))


def test_a_token_goes_before_who_holds_the_socket(who: Callable[[falcon.Request], Caller]) -> None:
    assert who(request(CONFIRMED | {tokens.HEADER: "t"}, peer=os.geteuid())).project_id == "p1"
    with pytest.raises(NotSignedIn):
        who(request({tokens.HEADER: "wrong"}, peer=os.geteuid()))


def test_the_plugin_of_a_token_is_shown_nowhere() -> None:
    assert "secret" not in repr(Caller("u", "p", frozenset(), "a secret"))


def echoing(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    start("200 OK", [("Content-Type", "application/json")])
    names = ("HTTP_X_IDENTITY_STATUS", "HTTP_X_USER_ID", "HTTP_X_ROLES", "HTTP_X_PROJECT_ID")
    return [json.dumps({name: environ[name] for name in names if name in environ}).encode()]


def behind(tmp_path: Path, keystone: str, more: str = "") -> TestClient:
    """The middleware with this Keystone."""
    options = f"auth_type = password\nauth_url = {keystone}/v3\nusername = u\npassword = p\nproject_name = s\n{more}"
    known = settings(tmp_path, f"[keystone_authtoken]\nwww_authenticate_uri = {keystone}\n{options}")
    app = tokenguard.guarded(echoing, known.oslo)
    return TestClient(lambda environ, start: app(environ, start))  # noqa: PLW0108 - Falcon wants to see its arguments


@pytest.fixture
def before(tmp_path: Path) -> TestClient:
    """The middleware with a Keystone that nobody serves."""
    return behind(tmp_path, "http://127.0.0.1:1")


def test_nobody_says_himself_who_he_is(before: TestClient) -> None:
    assert before.simulate_get("/", headers=CONFIRMED).json == {"HTTP_X_IDENTITY_STATUS": "Invalid"}


def test_a_keystone_that_is_away_makes_no_token_wrong(before: TestClient) -> None:
    answer = before.simulate_get("/", headers={tokens.HEADER: "gAAAAA"})
    assert answer.status_code == 503
    assert answer.json["serviceUnavailable"]["error"] == "keystone-unreachable"


def test_a_keystone_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenguard, "SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        asked = behind(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}", "http_request_max_retries = 0\n")
        answer = asked.simulate_get("/", headers={tokens.HEADER: "gAAAAA"})
    assert answer.status_code == 503
    assert answer.json["serviceUnavailable"]["error"] == "keystone-unreachable"


def test_images_go_to_glance_with_their_users_tokens_only(house: House, tmp_path: Path) -> None:
    access = Access(settings(tmp_path, "[images]\nstore = glance\n"))
    with pytest.raises(ConfigInvalid):
        application(replace(house.deps, store=None, glance=access))


def test_who_looks_here_for_images_is_told_that_they_are_in_glance(house: House, tmp_path: Path) -> None:
    options = "auth_type = password\nauth_url = http://127.0.0.1:1/v3\nusername = u\npassword = p\nproject_name = s\n"
    known = settings(tmp_path, f"[api]\nauth = keystone\n[images]\nstore = glance\n[keystone_authtoken]\n{options}")
    deps = replace(house.deps, settings=known, store=None, glance=Access(known), registry=CollectorRegistry())
    app = application(deps)
    root = TestClient(lambda environ, start: app(environ | {PEER_UID: os.geteuid()}, start))
    for path in ("/image/v2/images", "/image/v2/images/6c1f8c0a-2e5d-4a55-8f0b-2a1c3d4e5f60"):
        answer = root.simulate_get(path)
        assert (answer.status_code, answer.json["itemNotFound"]["error"]) == (404, "images-in-glance")
