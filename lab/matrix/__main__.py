"""The fault matrix, or the cells that are named.

    python -m lab.matrix [--lanes N] [--every] [--list] [CELL...]

A cell is POINT/FAULT/WAY, as in lease.BackupJob.taken/kill/backup+directory:running; one with a * stands for all that
match. Without names the cells of lab/matrix/ways.py are run, with --every also those that try the same code on another
way once more, and docs/reliability.md is written. What a cell that does not hold has left is told in build/faults. The
exit status is 1 when a cell does not hold, or a point is never come to.
"""

from __future__ import annotations

import argparse
import fnmatch
import itertools
import sys
import time

from lab.matrix import table
from lab.matrix.cell import Break, Cell
from lab.matrix.run import Findings, cells, observed
from lab.matrix.ways import ELSEWHERE, WAYS
from lab.points import points

LANES = 3  # most of a cell's time is spent waiting


def main() -> int:
    """Runs what was asked for."""
    options = argparse.ArgumentParser(
        prog="python -m lab.matrix", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("cells", nargs="*", metavar="CELL")
    options.add_argument("--lanes", type=int, default=LANES)
    options.add_argument("--every", action="store_true", help="all points on all ways; takes twice as long")
    options.add_argument("--list", action="store_true", help="print the names of all cells")
    chosen = options.parse_args()
    began = time.monotonic()
    reached = observed(chosen.lanes)
    every = [Cell(point, kind, way) for way in WAYS for kind in Break for point in reached[way]]
    wanted = [cell for cell in every if chosen.every or cell.by_default]
    wanted = [cell for cell in every if _matches(cell, chosen.cells)] if chosen.cells else wanted
    if chosen.list:
        print("\n".join(cell.name for cell in wanted))
        return 0
    expected = {point for point in points() if not point.startswith(ELSEWHERE)}
    unreached = expected.difference(itertools.chain.from_iterable(reached.values()))
    found = cells(wanted, chosen.lanes)
    minutes = (time.monotonic() - began) / 60
    if not chosen.cells:
        table.write(table.page(found.outcomes, len(found.broken), len(wanted), minutes, chosen.lanes))
    _tell(found, sorted(unreached), minutes)
    return 1 if found.broken or unreached else 0


def _matches(cell: Cell, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(cell.name, pattern) for pattern in patterns)


def _tell(found: Findings, unreached: list[str], minutes: float) -> None:
    print(f"\n{len(found.outcomes)} cells hold, {len(found.broken)} do not, in {minutes:.1f} minutes")
    stall = max((outcome.stall for outcome in found.outcomes.values()), default=0.0)
    print(f"the longest write of a guest took {stall * 1000:.0f} ms")
    for cell in found.broken:
        print(f"DOES NOT HOLD: {cell.name}")
    for point in unreached:
        print(f"NEVER COME TO: {point}")


if __name__ == "__main__":
    sys.exit(main())
