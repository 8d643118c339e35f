from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stillframe.agent.lock import locked
from stillframe.errors.service import StateDirectoryInUse


def test_a_second_service_is_refused_with_the_first_ones_process(tmp_path: Path) -> None:
    with locked(tmp_path / "state"), pytest.raises(StateDirectoryInUse) as caught, locked(tmp_path / "state"):
        pass
    assert caught.value.fault.message.endswith(f"used by another Stillframe, process {os.getpid()}.")


def test_the_lock_goes_with_its_process_however_it_ends(tmp_path: Path) -> None:
    script = f"""
import os, pathlib
from stillframe.agent.lock import locked
with locked(pathlib.Path({str(tmp_path)!r})):
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    with locked(tmp_path):
        assert (tmp_path / "lock").read_text() == str(os.getpid())
