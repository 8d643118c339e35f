"""Cells side by side, one after another in each lane."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TypeVar

from lab.matrix import cell
from lab.matrix.cell import Cell, Outcome
from lab.matrix.lane import Lane, lane
from lab.matrix.ways import WAYS, Way
from lab.tools import ROOT

EVIDENCE = ROOT / "build" / "faults"
T = TypeVar("T")


@dataclass(slots=True)
class Findings:
    """What became of the cells."""

    outcomes: dict[Cell, Outcome] = field(default_factory=dict)
    broken: list[Cell] = field(default_factory=list)


def observed(lanes: int) -> dict[Way, tuple[str, ...]]:
    """The points that captures come to, by their way; raises when one does not go well."""
    found: dict[Way, tuple[str, ...]] = {}
    failures: list[Exception] = []

    def observe(one: Lane, way: Way) -> None:
        try:
            found[way] = cell.points_of(one, way)
        except Exception as error:  # noqa: BLE001 - raised below: one way that fails leaves the others their lane
            failures.append(error)
            one.renew()

    side_by_side(WAYS, lanes, observe)
    if failures:
        raise failures[0]
    return found


def cells(wanted: Iterable[Cell], lanes: int) -> Findings:
    """Runs them all; what does not hold is told in build/faults. Those that a broken lane kept from running do not."""
    findings, wanted = Findings(), list(wanted)

    def attempt(one: Lane, each: Cell) -> None:
        try:
            outcome = cell.run(one, each)
        except Exception:  # noqa: BLE001 - whatever it is, the cell does not hold, and the others are run
            findings.broken.append(each)
            _keep_evidence(one, each, traceback.format_exc())
            one.renew()
        else:
            findings.outcomes[each] = outcome
            print(f"{outcome.seconds:6.1f} s  {outcome.status:9}  {each.name}  {outcome.code}", flush=True)

    try:
        side_by_side(wanted, lanes, attempt)
    except Exception:  # noqa: BLE001 - told, and what was found so far is not lost
        traceback.print_exc()
        findings.broken += [each for each in wanted if each not in {*findings.outcomes, *findings.broken}]
    return findings


def side_by_side(things: Iterable[T], lanes: int, act: Callable[[Lane, T], None]) -> None:
    """Each thing once, in whichever lane is free; raises the first error of a lane itself.

    Interrupted, it ends once what is being done is done.
    """
    waiting: SimpleQueue[T] = SimpleQueue()
    for thing in things:
        waiting.put(thing)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with lane() as one:
                while not errors:
                    act(one, waiting.get_nowait())
        except Empty:
            return
        except BaseException as error:  # noqa: BLE001 - raised below, by the one who waits
            errors.append(error)

    threads = [threading.Thread(target=work, name=f"lane-{number}") for number in range(lanes)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException as error:
        errors.append(error)
        raise
    if errors:
        raise errors[0]


def _keep_evidence(one: Lane, each: Cell, words: str) -> None:
    EVIDENCE.mkdir(parents=True, exist_ok=True)
    print(f"DOES NOT HOLD  {each.name}\n{words.strip().splitlines()[-1][:300]}", flush=True)
    (EVIDENCE / f"{each.name.replace('/', '--')}.txt").write_text(f"{words}\n{one.service.log()}")
