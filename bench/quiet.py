"""Whether the machine is ours: a virtual one's processors may be given to others in the middle of a measurement."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

SETTLE = 20.0  # seconds at the most that rest is waited for: a neighbour may never rest
SPIN = 0.3  # seconds of work that tell whether it gets a processor
DISTURBED = 0.03  # of the processors' time in the hands of others
MOST = 3  # turns for each that is wanted, until so many were undisturbed


class Turn(Protocol):
    """Some ways, measured one after the other."""

    @property
    def disturbed(self) -> float:
        """What part of the processors' time others had, while that was worst."""


T = TypeVar("T", bound=Turn)


def settle() -> None:
    """Nothing that went before is being written or discarded any more, and who wants a processor gets it."""
    os.sync()
    deadline = time.monotonic() + SETTLE
    while True:
        time.sleep(0.5)
        share = Share()
        spun = time.monotonic() + SPIN
        while time.monotonic() < spun:
            pass
        if share.taken() == 0 or time.monotonic() >= deadline:
            return


class Share:
    """What part of the machine's processor time has been given to others since this was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._before = _stolen()

    def taken(self) -> float:
        """0 to 1."""
        seconds = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        return (_stolen() - self._before) / seconds


def undisturbed(turn: Callable[[], T], runs: int, say: Callable[[str], None]) -> list[T]:
    """So many turns while the machine was ours, or those that were disturbed least: what they measured has no say."""
    turns: list[T] = []
    while sum(each.disturbed <= DISTURBED for each in turns) < runs and len(turns) < MOST * runs:
        say(f"turn {len(turns) + 1}")
        turns.append(turn())
        say(f"others had up to {turns[-1].disturbed:.1%} of the processors")
    return sorted(turns, key=lambda each: each.disturbed)[:runs]


def _stolen() -> float:
    """Seconds of all processors since the machine's start; see proc(5), `steal`."""
    first, *_ = Path("/proc/stat").read_text().splitlines()
    return int(first.split()[8]) / os.sysconf("SC_CLK_TCK")
