"""The way to a cloud's services, over real sockets: connections that end when they are used again."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from keystoneauth1 import exceptions as keystone
from keystoneauth1.adapter import Adapter

from stillframe import cloudaccess, config
from stillframe.cloudaccess import CloudAccess, answered, why
from stillframe.errors.service import ConfigInvalid
from tests.unit.api.some_nova import SomeNova, said

CLOSED = b""  # the connection ends without an answer


@pytest.fixture
def service() -> Iterator[SomeNova]:
    with SomeNova() as made:
        yield made


def access(tmp_path: Path, text: str) -> CloudAccess:
    file = tmp_path / "stillframe.conf"
    file.write_text(text)
    return CloudAccess(config.load(files=[file]), "glance", "image")


@pytest.fixture
def adapter(service: SomeNova, tmp_path: Path) -> Adapter:
    where = f"[glance]\nendpoint_override = {service.url}\n"
    return access(tmp_path, where + "[service_user]\nauth_type = none\n").as_service()


def one_after_the_other(service: SomeNova, *answers: bytes) -> None:
    left = iter(answers)
    service.script = lambda _: next(left)


def test_what_is_repeatable_is_asked_again_when_the_connection_was_closed(service: SomeNova, adapter: Adapter) -> None:
    one_after_the_other(service, CLOSED, said(b"here"))
    assert answered(adapter, "/images", "GET", repeatable=True, timeout=5).text == "here"
    assert [asked.method for asked in service.received] == ["GET", "GET"]


@pytest.mark.parametrize(("method", "repeatable", "times"), [("POST", False, 1), ("GET", True, 2)])
def test_nothing_is_asked_for_ever(
    service: SomeNova, adapter: Adapter, method: str, repeatable: bool, times: int
) -> None:
    one_after_the_other(service, *[CLOSED] * times, said(b"too late"))
    with pytest.raises(keystone.ConnectFailure) as caught:
        answered(adapter, "/images", method, repeatable=repeatable, timeout=5)
    assert len(service.received) == times
    assert why(caught.value) == "it or Keystone does not answer"


def test_a_refusal_is_an_answer(service: SomeNova, adapter: Adapter) -> None:
    one_after_the_other(service, said(b"no", 503))
    assert answered(adapter, "/images", "GET", repeatable=True, timeout=5).status_code == 503


def test_a_keystone_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """keystoneauth itself gives no deadline to logins, whatever the one of the call is."""
    monkeypatch.setattr(cloudaccess, "KEYSTONE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"http://127.0.0.1:{silent.getsockname()[1]}/v3"
        user = f"auth_type = password\nauth_url = {where}\nusername = u\npassword = p\nproject_name = s\n"
        adapter = access(tmp_path, f"[service_user]\n{user}").as_service()
        with pytest.raises(keystone.ConnectTimeout) as caught:
            answered(adapter, "/images", "GET", repeatable=True, timeout=5)
    assert why(caught.value) == "there was no answer in time"


def test_our_own_calls_need_a_user(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"\[glance\] needs \[service_user\]"):
        access(tmp_path, "[glance]\nendpoint_override = http://127.0.0.1:1\n").as_service()
