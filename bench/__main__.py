"""All benchmarks, or those of the cases (or experiments) that are named.

    python -m bench [--quick] [--list] [--directory DIR] [CASE...]

Writes bench/out/results.json, a list of {case, ours, other, ratio, unit, runs}: medians, with the ratio of two figures
taken within each run. Prints a table with the targets and whether they hold. Cases that are measured together run
together; a way during which the machine's hypervisor gave its processors to others is gone again, within limits
(bench/quiet.py). The exit status is 1 when a case could not be measured; a target that is missed does not change it.

With --quick there is little data and one run: to see that they work. It writes bench/out/quick.json.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from pathlib import Path

from bench import (
    api,
    ceph,
    cephclone,
    cloud,
    controller,
    datapath,
    device,
    glance,
    growth,
    listing,
    live,
    reflink,
    results,
    sparse,
)
from bench.experiment import Experiment, Options
from bench.results import Result

OUT = Path(__file__).parent / "out"
EXPERIMENTS: tuple[Experiment, ...] = (
    live.EXPERIMENT,
    device.EXPERIMENT,
    sparse.EXPERIMENT,
    reflink.EXPERIMENT,
    ceph.EXPERIMENT,
    cephclone.EXPERIMENT,
    glance.EXPERIMENT,
    api.EXPERIMENT,
    controller.EXPERIMENT,
    listing.EXPERIMENT,
    cloud.EXPERIMENT,
    datapath.EXPERIMENT,
    growth.EXPERIMENT,
)


def main() -> int:
    """Runs what was asked for."""
    options = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("cases", nargs="*", metavar="CASE")
    options.add_argument("--quick", action="store_true")
    options.add_argument("--list", action="store_true", help="print the names of all cases")
    options.add_argument("--directory", type=Path, default=Path("/var/tmp"))  # noqa: S108 - a real disk, /tmp may be none
    options.add_argument("--out", type=Path, help="the file of the results")
    chosen = options.parse_args()
    if chosen.list:
        for experiment in EXPERIMENTS:
            print(f"{experiment.name}: {' '.join(experiment.cases)}")
        return 0
    wanted = _wanted(set(chosen.cases))
    found, failed = _measured(wanted, chosen.directory, quick=chosen.quick)
    results.write(chosen.out or OUT / ("quick.json" if chosen.quick else "results.json"), found)
    print(f"\n{results.table(found)}")
    for name in failed:
        print(f"NOT MEASURED: {name}")
    return 1 if failed else 0


def _wanted(names: set[str]) -> list[Experiment]:
    unknown = names - {name for each in EXPERIMENTS for name in (each.name, *each.cases)}
    if unknown:
        sys.exit(f"no such case: {' '.join(sorted(unknown))}; see --list")
    return [each for each in EXPERIMENTS if not names or names & {each.name, *each.cases}]


def _measured(experiments: list[Experiment], directory: Path, *, quick: bool) -> tuple[list[Result], list[str]]:
    """The results, and the names of the cases that failed; one that fails does not keep the others."""
    found: list[Result] = []
    failed: list[str] = []
    for experiment in experiments:
        began = time.monotonic()
        say = _Say(experiment.name)
        try:
            got = experiment.run(Options(directory, quick=quick, say=say))
        except Exception:  # noqa: BLE001 - it is printed, and the exit status tells
            traceback.print_exc()
            failed.extend(experiment.cases)
            continue
        found.extend(got)
        failed.extend(set(experiment.cases) - {result.case for result in got})
        say(f"done in {time.monotonic() - began:.0f} s")
    return found, failed


class _Say:
    """Lines of progress, with the time since the start."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._began = time.monotonic()

    def __call__(self, words: str) -> None:
        print(f"{self._name:9} {time.monotonic() - self._began:5.0f} s  {words}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
