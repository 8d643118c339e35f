"""Who is asking, and how passwords are kept."""

from __future__ import annotations

import os
import time
from pathlib import Path

import bcrypt
import falcon
import pytest
from falcon.testing import create_environ, create_req

from stillframe.api import passwords
from stillframe.api.auth import Anybody, PeerFirst
from stillframe.api.call import Caller
from stillframe.api.passwords import PasswordFile, hashed, parse
from stillframe.errors.request import Forbidden
from stillframe.errors.service import ConfigInvalid
from tests.unit.api.api_house import House


def line(user: str, password: str, tail: str = "") -> str:
    return f"{user}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds=4)).decode()}{tail}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    path.write_text("# users\n\n" + line("ann", "one") + line("ben", "two", ":blue:reader, x"))
    return path


def test_users_of_a_file(file: Path) -> None:
    users = PasswordFile(file, "home")
    ann, ben = users.caller("ann", "one"), users.caller("ben", "two")
    assert ann is not None
    assert ben is not None
    assert ann == Caller("ann", "home", frozenset({"member", "reader"}))
    assert ben == Caller("ben", "blue", frozenset({"reader", "x"}))


@pytest.mark.parametrize(
    ("user", "password"), [("ann", "two"), ("ann", ""), ("nobody", "one"), ("", ""), ("ann", "x" * 99)]
)
def test_wrong_names_and_passwords(file: Path, user: str, password: str) -> None:
    assert PasswordFile(file, "home").caller(user, password) is None


def test_a_good_check_is_remembered_and_a_changed_password_forgets_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = PasswordFile(file, "home")
    checks: list[bytes] = []
    real = bcrypt.checkpw

    def counted(password: bytes, hash_: bytes) -> bool:
        checks.append(hash_)
        return real(password, hash_)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    for _ in range(5):
        assert users.caller("ann", "one")
    assert len(checks) == 1
    assert users.caller("ann", "two") is None
    file.write_text(line("ann", "changed"))
    assert users.caller("ann", "one") is None
    assert users.caller("ann", "changed")


def test_a_remembered_check_is_forgotten_in_time(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    users = PasswordFile(file, "home")
    assert users.caller("ann", "one")
    monkeypatch.setattr(bcrypt, "checkpw", lambda *_: False)
    assert users.caller("ann", "one")
    later = time.monotonic() + passwords.REMEMBERED_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert users.caller("ann", "one") is None


def test_no_password_is_kept(file: Path) -> None:
    users = PasswordFile(file, "home")
    users.caller("ann", "one")
    assert "'one'" not in repr(vars(users))
    assert b"one" not in b"".join(users._good)


def test_an_unknown_user_costs_a_check_too(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    users = PasswordFile(file, "home")
    checks: list[bytes] = []

    def right(_: bytes, hash_: bytes) -> bool:
        checks.append(hash_)
        return True

    monkeypatch.setattr(bcrypt, "checkpw", right)
    assert users.caller("nobody", "one") is None
    (dummy,) = checks
    assert dummy.startswith(b"$2b$04$")


def test_nobody_gets_in_while_the_file_is_broken(file: Path) -> None:
    users = PasswordFile(file, "home")
    assert users.caller("ann", "one")
    file.write_text("nonsense\n")
    assert users.caller("ann", "one") is None
    file.unlink()
    assert users.caller("ann", "one") is None


@pytest.mark.parametrize(
    "text",
    [
        "ann\n",
        "ann:secret\n",
        ":" + line("", "x")[1:],
        line("ann", "x", ":p:r:more"),
        line("ann", "x") * 2,
        "ann:$2b$99$x\n",
    ],
)
def test_a_broken_file_is_refused_by_its_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"line [12]"):
        parse(text, "home")
    (tmp_path / "users").write_text(text)
    with pytest.raises(ConfigInvalid):
        PasswordFile(tmp_path / "users", "home")


def test_a_hash_that_was_made_here_is_understood() -> None:
    text = f"ann:{hashed('sesame')}:p:admin"
    assert parse(text, "home")["ann"].caller.roles == {"admin", "manager", "member", "reader"}
    for wrong in ("", "x" * 73):
        with pytest.raises(ValueError, match="bytes"):
            hashed(wrong)


@pytest.mark.parametrize("header", ["Basic", "Basic !!!", "Basic YWxpY2U=", "Bearer x", "Basic /w==", "basic \t"])
def test_headers_that_sign_nobody_in(house: House, header: str) -> None:
    answer = house.get(None, "/v2.1/servers", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="Stillframe", charset="UTF-8"'
    assert house.get("alice", "/v2.1/servers", password="wrong").status_code == 401


def peer(uid: int) -> falcon.Request:
    """A request as cheroot hands it on from a Unix socket."""
    return falcon.Request(create_environ() | {"X_REMOTE_UID": str(uid)})


def test_peers_of_the_unix_socket() -> None:
    sign_in = PeerFirst("home", Anybody("home", None))
    root = sign_in(peer(0))
    assert (root.user_id, "admin" in root.roles) == ("root", True)
    me = sign_in(peer(os.geteuid()))
    assert "admin" in me.roles
    other = sign_in(peer(54321))
    assert other == Caller("54321", "home", frozenset({"member", "reader"}))


def test_a_header_makes_nobody_a_peer(house: House) -> None:
    answer = house.get(None, "/v2.1/servers", headers={"X-Remote-Uid": "0", "X_REMOTE_UID": "0"})
    assert answer.status_code == 401


def test_anybody_on_loopback_but_no_web_page() -> None:
    sign_in = Anybody("home", "http://stillframe.example")
    for host in ("127.0.0.1", "localhost", "[::1]", "stillframe.example"):
        assert "admin" in sign_in(create_req(headers={"Host": f"{host}:8774"})).roles
    with pytest.raises(Forbidden):
        sign_in(create_req(headers={"Host": "evil.example"}))
    with pytest.raises(Forbidden):
        sign_in(create_req(headers={"Host": "127.0.0.1", "Origin": "http://evil.example"}))
