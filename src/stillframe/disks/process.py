"""Child processes: limited, ended with their parent, and provably ours after a restart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Child:
    """A process that we started; the start time proves that the pid was not taken over by another."""

    pid: int
    started: int  # clock ticks after boot, field 22 of /proc/PID/stat


def run(argv: Sequence[str], *, timeout: float) -> str:
    """Runs a tool to its end and gives its standard output.

    Raises ToolFailed (standard error in the operator's part) and DeadlineExceeded.
    """
    raise NotImplementedError


def spawn(argv: Sequence[str]) -> Child:
    """Starts a process that goes on in the background and dies with this process; raises ToolFailed."""
    raise NotImplementedError


def alive(child: Child) -> bool:
    """True while exactly this process runs; a zombie counts as gone."""
    raise NotImplementedError


def stop(child: Child, timeout: float) -> None:
    """Ends it: SIGTERM, then SIGKILL. Nothing happens when it is gone; raises DeadlineExceeded."""
    raise NotImplementedError
