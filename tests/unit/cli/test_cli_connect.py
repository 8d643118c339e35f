"""Which service the commands find, and who they say is asking."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import openstack.config.loader
import pytest

from stillframe.cli import connect
from stillframe.cli.main import main
from tests.unit.cli.cli_service import Service, server, serving

CLOUDS = """
clouds:
  lab:
    auth_type: http_basic
    auth: {username: alice, password: secret, endpoint: "http://127.0.0.1:8774/v2.1"}
    compute_endpoint_override: http://127.0.0.1:8774/v2.1
    image_endpoint_override: http://127.0.0.1:8774/image
"""


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("OS_", "STILLFRAME_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(connect, "CONFIG_FILE", tmp_path / "stillframe.conf")
    monkeypatch.setattr(connect, "SOCKET", tmp_path / "api.sock")
    monkeypatch.chdir(tmp_path)
    # the library asks for the working directory once, when it is imported
    monkeypatch.setattr(openstack.config.loader, "CONFIG_FILES", [str(tmp_path / "clouds.yaml")])


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with serving(tmp_path) as made:
        made.on("GET", "/v2.1/servers/detail", {"servers": [server()]})
        yield made


def test_without_any_setup_it_is_this_machines_socket(service: Service) -> None:
    assert main(["server", "list"]) == 0
    assert "X-Auth-Token" not in service.asked[0].headers
    assert service.asked[0].headers["OpenStack-API-Version"] == "compute 2.96"


def test_the_configuration_file_tells_where_the_socket_is(tmp_path: Path, service: Service) -> None:
    place = tmp_path / "elsewhere"
    place.mkdir()
    service.socket.rename(place / "other.sock")
    (tmp_path / "stillframe.conf").write_text(f"[api]\nsocket = {place}/other.sock\n")
    assert main(["server", "list"]) == 0


def test_a_clouds_file_counts_only_without_a_service_here(tmp_path: Path, service: Service) -> None:
    (tmp_path / "clouds.yaml").write_text(CLOUDS)
    assert main(["server", "list"]) == 0
    service.socket.unlink()
    place = connect.find(None, None, os.environ)
    assert place.name == "http://127.0.0.1:8774/v2.1"


def test_a_cloud_gives_endpoints_and_signs_in(tmp_path: Path) -> None:
    (tmp_path / "clouds.yaml").write_text(CLOUDS)
    place = connect.find(None, "lab", os.environ)
    assert (place.compute, place.image) == ("http://127.0.0.1:8774", "http://127.0.0.1:8774/image")
    headers = place.session.get_auth_headers()
    assert headers is not None
    assert headers["Authorization"] == "Basic " + base64.b64encode(b"alice:secret").decode()


def test_an_unknown_cloud_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--os-cloud", "nowhere", "server", "list"]) == 5
    assert "nowhere" in capsys.readouterr().err


def test_a_service_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "SECONDS", 0.2)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "api.sock"))
        silent.listen()
        assert main(["server", "list"]) == 5


def test_a_keystone_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        auth = f'auth: {{username: u, password: p, project_name: p, auth_url: "http://127.0.0.1:{silent.getsockname()[1]}"}}'
        (tmp_path / "clouds.yaml").write_text(f"clouds:\n  lab:\n    {auth}\n")
        assert main(["--os-cloud", "lab", "server", "list"]) == 5


def test_the_option_wins_over_the_environment(
    tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OS_CLOUD", "nowhere")
    monkeypatch.setenv("STILLFRAME_SOCKET", str(tmp_path / "none"))
    assert main(["--socket", str(service.socket), "server", "list"]) == 0
    assert main(["server", "list"]) == 5


@pytest.mark.parametrize(
    ("endpoint", "root"),
    [
        ("http://h:8774/v2.1", "http://h:8774"),
        ("http://h:8774/v2.1/", "http://h:8774"),
        ("http://h:8774/v2.1/0123abc", "http://h:8774"),
        ("http://h/compute/v2", "http://h/compute"),
        ("http://h/image/", "http://h/image"),
        ("http://h/image", "http://h/image"),
    ],
)
def test_endpoints_lose_their_version(endpoint: str, root: str) -> None:
    assert connect.unversioned(endpoint) == root


def test_a_socket_that_this_user_may_not_use(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--socket", str(service.socket), "server", "list"]
    assert main(argv) == 0
    service.socket.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        assert main(argv) == 6
    finally:
        os.seteuid(user)
    assert "[socket-forbidden]" in capsys.readouterr().err
