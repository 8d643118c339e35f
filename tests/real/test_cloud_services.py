"""The services of a cloud by themselves: the API for any WSGI server, what each has in memory, what stops it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SHOW = "import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
ASK = """
from wsgiref.util import setup_testing_defaults
from stillframe.wsgi.api import application

environ = {}
setup_testing_defaults(environ)
print(b"".join(application(environ, lambda status, headers: None)).decode())
"""


def python(script: str, **environment: str) -> tuple[str, str]:
    """Standard output and errors."""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    return done.stdout, done.stderr


def test_the_application_takes_its_configuration_from_the_environment(tmp_path: Path) -> None:
    shared, own = tmp_path / "stillframe.conf", tmp_path / "stillframe-api.conf"
    shared.write_text("[messaging]\ntransport_url = rabbit://nobody:nothing@127.0.0.1:1/\n")
    own.write_text(f"[DEFAULT]\nstate_dir = {tmp_path}\n[database]\nconnection = sqlite:///{tmp_path}/db.sqlite\n")
    answer, log = python(ASK, STILLFRAME_CONFIG=f"{shared}:{own}")
    assert {version["status"] for version in json.loads(answer)["versions"]} >= {"CURRENT"}
    assert "GET / 200" in log


@pytest.mark.parametrize("service", ["api", "controller", "agent"])
def test_a_service_without_a_broker_says_what_to_set(service: str, tmp_path: Path) -> None:
    assert "[messaging] transport_url is not set" in refusal(service, tmp_path)


@pytest.mark.parametrize("service", ["api", "controller"])
def test_a_service_does_not_take_a_database_of_its_own(service: str, tmp_path: Path) -> None:
    words = refusal(service, tmp_path, "[messaging]\ntransport_url = rabbit://nobody:nothing@127.0.0.1:1/\n")
    assert "[database] connection is not set" in words
    assert "nothing" not in words


def refusal(service: str, directory: Path, options: str = "") -> str:
    """What a service says that does not start."""
    file = directory / "stillframe.conf"
    file.write_text(f"[DEFAULT]\nstate_dir = {directory}\n{options}")
    command = Path(sys.executable).with_name(f"stillframe-{service}")
    done = subprocess.run([command, "--config-file", file], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("stillframe.services.agent", {"sqlalchemy", "alembic", "falcon", "cheroot"}),
        ("stillframe.services.controller", {"libvirt", "nbd", "falcon", "cheroot"}),
        ("stillframe.services.api", {"libvirt", "nbd"}),
        ("stillframe.onehost", {"oslo_messaging", "kombu", "eventlet"}),
    ],
)
def test_a_service_loads_nothing_that_it_has_no_use_for(module: str, absent: set[str]) -> None:
    modules, complaints = python(SHOW.format(module=module))
    loaded = set(modules.split())
    assert ("stillframe" in loaded, complaints) == (True, "")
    assert loaded & absent == set()
