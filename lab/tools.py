"""Running the distribution's tools, and where the lab keeps what it builds."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "lab"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ToolFailed(Exception):  # noqa: N818
    """A tool ended with an error; its words are in the message."""


def tool(*argv: str | Path, timeout: float = 60, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Standard output of a command; raises ToolFailed with its errors, subprocess.TimeoutExpired after `timeout`."""
    command = [str(word) for word in argv]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, check=False, cwd=cwd, env=environment(env)
    )
    if done.returncode:
        raise ToolFailed(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def succeeds(argv: Sequence[str | Path], timeout: float = 60) -> bool:
    """Whether a command exits with 0; its output is dropped."""
    command = [str(word) for word in argv]
    done = subprocess.run(command, capture_output=True, timeout=timeout, check=False, env=environment())
    return done.returncode == 0


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment in the C locale with the system directories on the path (cron and sudo drop them)."""
    path = f"{os.environ.get('PATH', '')}:{PATH}".lstrip(":")
    return {**os.environ, "LC_ALL": "C", "PATH": path, **(extra or {})}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on `path` (made if missing), so that only one process builds the same thing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
