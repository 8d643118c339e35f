"""What a benchmark is to the command that runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.results import Result

MIB, GIB = 1 << 20, 1 << 30


@dataclass(frozen=True, slots=True)
class Options:
    """How all experiments are run."""

    directory: Path  # on a real disk; each experiment makes and removes a directory of its own in it
    quick: bool  # few runs and little data: to see that a benchmark works, not what it says
    say: Callable[[str], None]  # a line of progress

    def runs(self, usual: int) -> int:
        """How often to measure."""
        return 1 if self.quick else usual

    def data(self, usual: int) -> int:
        """How many bytes to measure with."""
        return usual // 8 if self.quick else usual


@dataclass(frozen=True, slots=True)
class Experiment:
    """Cases that are measured together, so that their figures belong to the same runs."""

    name: str
    cases: tuple[str, ...]
    run: Callable[[Options], list[Result]]
