"""The fault matrix, or the cells that are named.

    python -m lab.matrix [--lanes N] [--every | --again] [--list] [CELL...]

Without names the cells of lab/matrix/ways.py are run, with --every also those that try the same code on another way
once more, and docs/reliability.md is written. A cell is POINT/FAULT/WAY, as in
lease.BackupJob.taken/kill/backup+directory:running; one with a * stands for all of those cells that match. What a cell
that does not hold has left is told in build/faults, and --again runs just those of the last whole run once more and
writes the page anew. The exit status is 1 when a cell does not hold, or a point is never come to.
"""

from __future__ import annotations

import argparse
import fnmatch
import itertools
import sys
import time

from lab.matrix import table
from lab.matrix.cell import Break, Cell
from lab.matrix.run import cells, observed
from lab.matrix.seen import Seen
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
    options.add_argument("--again", action="store_true", help="only those that did not hold in the last run of all")
    options.add_argument("--list", action="store_true", help="print the names of all cells")
    chosen = options.parse_args()
    if chosen.again:
        if chosen.cells:
            options.error("--again knows which cells: name none")
        return _again(chosen.lanes)
    began = time.monotonic()
    reached = observed(chosen.lanes)
    every = [Cell(point, kind, way) for way in WAYS for kind in Break for point in reached[way]]
    wanted = [cell for cell in every if chosen.every or cell.by_default or cell.name in chosen.cells]
    wanted = [cell for cell in wanted if _matches(cell, chosen.cells)] if chosen.cells else wanted
    if chosen.list:
        print("\n".join(cell.name for cell in wanted))
        return 0
    expected = {point for point in points() if not point.startswith(ELSEWHERE)}
    unreached = sorted(expected.difference(itertools.chain.from_iterable(reached.values())))
    found = cells(wanted, chosen.lanes)
    seen = Seen(found.outcomes, tuple(found.broken), _minutes(began))
    if not chosen.cells:
        _write(seen, chosen.lanes)
    return _told(seen, unreached)


def _again(lanes: int) -> int:
    began, last = time.monotonic(), Seen.load()
    seen = last.again(cells(last.broken, lanes), _minutes(began))
    _write(seen, lanes)
    return _told(seen, [])


def _write(seen: Seen, lanes: int) -> None:
    seen.save()
    table.write(table.page(seen.outcomes, len(seen.broken), seen.minutes, lanes))


def _minutes(began: float) -> float:
    return (time.monotonic() - began) / 60


def _matches(cell: Cell, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(cell.name, pattern) for pattern in patterns)


def _told(seen: Seen, unreached: list[str]) -> int:
    """The exit status, and why."""
    print(f"\n{len(seen.outcomes)} cells hold, {len(seen.broken)} do not, in {seen.minutes:.1f} minutes")
    if seen.outcomes:
        longest = max(seen.outcomes, key=lambda cell: seen.outcomes[cell].stall)
        print(f"the longest write of a guest took {seen.outcomes[longest].stall * 1000:.0f} ms, in {longest.name}")
    for cell in seen.broken:
        print(f"DOES NOT HOLD: {cell.name}")
    for point in unreached:
        print(f"NEVER COME TO: {point}")
    return 1 if seen.broken or unreached else 0


if __name__ == "__main__":
    sys.exit(main())
