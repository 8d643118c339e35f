"""make demo: it shows what it says, and leaves nothing behind, also when it is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.leaks import leaks
from lab.tools import ROOT, environment
from lab.wait import until


@pytest.fixture
def demo(tmp: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (tmp / "out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "lab.demo"], stdout=out, stderr=out, cwd=ROOT, env=environment({"TMPDIR": str(tmp)})
        )
    yield process
    process.kill()
    process.wait()


@pytest.mark.timeout(240)
def test_the_demo_ends_with_ok_and_leaves_nothing(demo: subprocess.Popen[bytes], tmp: Path) -> None:
    status = demo.wait(170)
    said = (tmp / "out").read_text()
    assert (status, said.splitlines()[-1]) == (0, "demo: ok"), said
    assert [path.name for path in tmp.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("number", "moment"),
    [(signal.SIGTERM, "A VM boots"), (signal.SIGINT, "image create")],
    ids=["SIGTERM while the VM boots", "Ctrl-C during the capture"],
)
def test_an_interrupted_demo_leaves_nothing(
    demo: subprocess.Popen[bytes], number: signal.Signals, moment: str, tmp: Path
) -> None:
    until(lambda: moment in (tmp / "out").read_text(), 120, f"'{moment}'")
    os.kill(demo.pid, number)
    status = demo.wait(60)
    said = (tmp / "out").read_text()
    assert (status, said.splitlines()[-1]) == (130, "demo: interrupted; nothing is left behind"), said
    assert [path.name for path in tmp.iterdir()] == ["out"]
    assert leaks(tmp) == []
