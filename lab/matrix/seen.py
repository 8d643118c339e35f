"""What became of all cells, kept on disk: so that those that did not hold can be run again by themselves."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from lab.matrix import cell
from lab.matrix.cell import Cell, Outcome
from lab.matrix.run import EVIDENCE, Findings

FILE = EVIDENCE / "outcomes.json"


@dataclass(frozen=True, slots=True)
class Seen:
    """One run of all cells, and what was run again since."""

    outcomes: dict[Cell, Outcome]  # of those that hold
    broken: tuple[Cell, ...]
    minutes: float

    @classmethod
    def load(cls, file: Path = FILE) -> Self:
        """The last one; raises OSError where there was none."""
        kept = json.loads(file.read_text())
        outcomes = {cell.named(name): Outcome(**outcome) for name, outcome in kept["outcomes"].items()}
        return cls(outcomes, tuple(map(cell.named, kept["broken"])), kept["minutes"])

    def save(self, file: Path = FILE) -> None:
        """Replaces the last one."""
        file.parent.mkdir(parents=True, exist_ok=True)
        outcomes = {each.name: asdict(outcome) for each, outcome in self.outcomes.items()}
        broken = [each.name for each in self.broken]
        file.write_text(json.dumps({"outcomes": outcomes, "broken": broken, "minutes": self.minutes}, indent=1))

    def again(self, found: Findings, minutes: float) -> Seen:
        """With the broken ones run once more."""
        return Seen({**self.outcomes, **found.outcomes}, tuple(found.broken), self.minutes + minutes)
