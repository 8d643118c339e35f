from __future__ import annotations

import stat
from pathlib import Path

from stillframe.agent.identity import identity


def test_it_is_the_same_in_every_run_and_another_elsewhere(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    first = identity(here)
    assert identity(here) == first != identity(there)
    assert stat.S_IMODE((here / "agent-id").stat().st_mode) == 0o600
