"""What operators copy: systemd's units and the configurations in the guide."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab.tools import ROOT, environment
from stillframe import config

UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
GUIDE = (ROOT / "docs" / "cloud.md").read_text()


def test_every_service_has_its_unit() -> None:
    services = ["stillframe", "stillframe-agent", "stillframe-api", "stillframe-controller"]
    assert sorted(unit.stem for unit in UNITS) == services


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.stem))
def test_systemd_finds_nothing_wrong_with_the_unit(unit: Path, tmp_path: Path) -> None:
    installed = unit.read_text().replace("/opt/stillframe/.venv/bin", str(Path(sys.executable).parent))
    copy = tmp_path / unit.name
    copy.write_text(installed)
    done = subprocess.run(
        ["systemd-analyze", "verify", copy], capture_output=True, text=True, env=environment(), check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["stillframe", "stillframe-agent"])
def test_systemd_leaves_the_guard_alone(name: str) -> None:
    assert "\nKillMode=process\n" in (ROOT / "deploy" / "systemd" / f"{name}.service").read_text()


@pytest.mark.parametrize("service", ["api", "controller", "agent"])
def test_the_guides_configuration_is_one(service: str, tmp_path: Path) -> None:
    files = dict(re.findall(r"`/etc/stillframe/(stillframe[a-z-]*\.conf)`:\n\n```ini\n(.*?)```", GUIDE, re.DOTALL))
    names = ["stillframe.conf", f"stillframe-{service}.conf"]
    for name in names:
        (tmp_path / name).write_text(files[name])
    settings = config.load(files=[tmp_path / name for name in names])
    assert settings.service.state_dir == Path(f"/var/lib/stillframe/{service}")
    assert settings.messaging.transport_url is not None
    known = {(group or "DEFAULT", option.name) for group, options in config.list_opts() for option in options}
    written = {
        (group, line.split(" = ")[0])
        for name in names
        for group, lines in re.findall(r"\[(\w+)\]\n((?:\w.*\n)*)", files[name])
        for line in lines.splitlines()
    }
    assert written <= known
