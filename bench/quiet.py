"""Whether the machine is ours: a virtual one's processors may be given to others in the middle of a measurement."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

SETTLE = 20.0  # seconds at the most that rest is waited for: a neighbour may never rest
SPIN = 0.3  # seconds of work that tell whether it gets a processor
DISTURBED = 0.03  # of the processors' time in the hands of others
MOST = 3  # times that a way is gone, until it was undisturbed


Say = Callable[[str], None]


class Way(Protocol):
    """One that was gone once."""

    @property
    def disturbed(self) -> float:
        """What part of the processors' time others had meanwhile."""


W = TypeVar("W", bound=Way)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Timed:
    """A way of which only the time counts."""

    seconds: float
    disturbed: float

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s"


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


def calm(name: str, way: Callable[[], W], say: Say) -> W:
    """The way gone once while the machine was ours; after MOST times that when others had least of it.

    What it measured has no say in which one that is.
    """
    gone: list[W] = []
    while len(gone) < MOST and all(each.disturbed > DISTURBED for each in gone):
        settle()
        gone.append(way())
        say(f"{name}: {gone[-1]}; others had {gone[-1].disturbed:.1%} of the processors")
    return min(gone, key=lambda each: each.disturbed)


def turns(turn: Callable[[Say], T], runs: int, say: Say) -> list[T]:
    """So many, each of all ways one after the other."""
    gone = []
    for number in range(1, runs + 1):
        say(f"turn {number} of {runs}")
        gone.append(turn(say))
    return gone


def timed(work: Callable[[], object]) -> Timed:
    """How long it took."""
    share, began = Share(), time.monotonic()
    work()
    return Timed(time.monotonic() - began, share.taken())


def _stolen() -> float:
    """Seconds of all processors since the machine's start; see proc(5), `steal`."""
    first, *_ = Path("/proc/stat").read_text().splitlines()
    return int(first.split()[8]) / os.sysconf("SC_CLK_TCK")
