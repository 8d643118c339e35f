"""The matrix as a page: a table a fault, rows of points, columns of ways."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from lab.matrix.cell import Break, Cell, Outcome
from lab.matrix.ways import WAYS, Way
from lab.tools import ROOT

PAGE = ROOT / "docs" / "reliability.md"
Outcomes = Mapping[Cell, Outcome]

INTRODUCTION = """\
<!-- Made by `make test-faults`, from what it has seen; do not edit. -->

# Nothing is ever left behind: the fault matrix

`make test-faults` makes captures of real guests, breaks each at one named point in one way, and then checks what must
hold. Points lie around every lease, step, record and call ([`failpoints.py`](../src/stillframe/failpoints.py)); in
production they do nothing. {cells} cells were run in {minutes:.0f} minutes by {lanes} lanes side by side; {holding}
hold. No guest write failed; the longest took {stall:.0f} ms, on a machine as busy as that makes it.

After each cell: the guest runs and is thawed; no backup job, scratch, socket, child process, half image, lease or
`task_state` is left; the capture is in one final state whose timeline tells what happened; there is exactly one image
or none; and where it was saved, the image equals the disk at the instant that is reported (the guest numbers its
blocks). In the tables a cell tells how many captures were *saved*, *failed* or *cancelled* under that fault, each at
another point of the row's, and in how many seconds at the most everything held again.

Columns are pairs of source and transfer, and the guest: *running* (on ext4), *sharing* (running, on xfs), *stopped*,
*stopped-sharing*, *on-rbd* (running, its disk in a Ceph cluster; *flat*: the clone is made independent before it is
published); *cancelled* is broken while a cancel ends it, *restarted* after a kill had broken it once before,
*lost* while its host counts as lost.
"""

# What Nova 34 does: seen, or read in its source.
FAULTS: Mapping[Break, tuple[str, str]] = {
    Break.KILLED: (
        "The service is killed (SIGKILL) and started again",
        """\
Nova 34: the image stays `queued` for good, 1 to 3.5 GiB of temporary files stay, in the mirror phase a block job runs
on and the domain is left transient. The restart clears `task_state` and nothing else; nothing is resumed.""",
    ),
    Break.DEAD: (
        "The service is killed and nobody starts it: the guard alone gives the guest back, a later start does the rest",
        "Nova 34: nobody thaws a frozen guest or ends the block job.",
    ),
    Break.RAISES: (
        "Something raises an exception that nobody foresaw",
        """\
Nova 34: a failed freeze is logged and the inconsistent image saved; the thaw is in no `finally`; a failed flatten leaks
clone and protected snapshot and hides its own error; a cold capture that fails leaves the guest suspended.""",
    ),
    Break.HANGS: (
        "A thread hangs for longer than every deadline",
        "Nova 34: the freeze has no deadline; what hangs keeps the server in its `task_state`, and the guest frozen.",
    ),
    Break.STOPPED: (
        "The service stands still (SIGSTOP) until its captures are given up, then goes on (SIGCONT)",
        """\
Nova 34: nobody gives it up, and nothing keeps a late attempt from publishing: a server that was deleted meanwhile gets
its image `active` all the same.""",
    ),
}


def page(outcomes: Outcomes, broken: int, minutes: float, lanes: int) -> str:
    """The whole page; a cell that does not hold is in no table."""
    stall = max((outcome.stall for outcome in outcomes.values()), default=0.0)
    cells, holding = len(outcomes) + broken, len(outcomes)
    head = INTRODUCTION.format(cells=cells, holding=holding, minutes=minutes, lanes=lanes, stall=stall * 1000)
    return "\n".join([head, *(part for kind in Break for part in _section(kind, outcomes))])


def group(point: str) -> str:
    """The row of a point: "lease BackupJob", "step transfer", "bytes"."""
    what, _, rest = point.partition(".")
    return f"{what} {rest.partition('.')[0]}" if "." in rest else what


def _section(kind: Break, outcomes: Outcomes) -> Iterator[str]:
    title, nova = FAULTS[kind]
    mine = {cell: outcome for cell, outcome in outcomes.items() if cell.broken is kind}
    columns = [way for way in WAYS if any(cell.way is way for cell in mine)]
    yield f"## {title}\n\n{nova}\n"
    yield f"| at | {' | '.join(way.name for way in columns)} |\n| --- |{' --- |' * len(columns)}"
    for row in sorted({group(cell.point) for cell in mine}):
        yield f"| {row} | {' | '.join(_text(_of(mine, row, way)) for way in columns)} |"
    yield ""


def _of(outcomes: Outcomes, row: str, way: Way) -> list[Outcome]:
    return [outcome for cell, outcome in outcomes.items() if cell.way is way and group(cell.point) == row]


def _text(outcomes: Iterable[Outcome]) -> str:
    """ "5 saved, 1 failed, 2.3 s"."""
    found = list(outcomes)
    if not found:
        return "-"
    counts = {word: sum(outcome.status == status for outcome in found) for status, word in WORDS.items()}
    told = [f"{count} {word}" for word, count in counts.items() if count]
    return f"{', '.join(told)}, {max(outcome.seconds for outcome in found):.1f} s"


WORDS = {"completed": "saved", "failed": "failed", "cancelled": "cancelled"}


def write(text: str, path: Path = PAGE) -> None:
    """Replaces the page."""
    path.write_text(text)
