"""A guest that writes, saved by sharing its disk's blocks on xfs: at any size in a moment."""

from __future__ import annotations

import os
import time
from pathlib import Path

from bench import latency
from bench.experiment import GIB, MIB, Experiment, Options
from bench.ground import Saved, ground, random_file, remove_images, saved
from bench.quiet import settle
from bench.results import Result
from lab import disks
from lab.disks import GuestDisk
from lab.filesystems import mounted
from lab.tools import tool

LARGE, SMALL = 1024 * GIB, 8 * GIB
DATA = GIB
PIECES = 64  # the data does not lie in one place
FILESYSTEM = 8 * GIB
RUNS = 5
CASES = ("reflink-live-s", "reflink-live-vs-copy", "reflink-stopped-guest-ms")


def run(options: Options) -> list[Result]:
    """Captures of both sizes in turn; the copy is cp's, of the same data on the same filesystem."""
    runs, data = options.runs(RUNS), options.data(DATA)
    large: list[Saved] = []
    small: list[Saved] = []
    copied = []
    with ground(options.directory) as place, mounted("xfs", place.directory / "fs", FILESYSTEM, place.host) as there:
        one, two = make_disk(there / "large.raw", LARGE, data), make_disk(there / "small.raw", SMALL, data)
        try:
            guests = place.guests.writing(one), place.guests.writing(two)
            with place.service(there / "service") as service:
                for number in range(1, runs + 1):
                    for guest, found in zip(guests, (large, small), strict=True):
                        settle()
                        found.append(_cloned(saved(service, guest)))
                        remove_images(service, found[-1].record)
                    copied.append(_copy(two.path))
                    options.say(
                        f"turn {number} of {runs}: 1 TiB {large[-1].seconds:.3f} s, 8 GiB {small[-1].seconds:.3f} s"
                    )
        finally:
            place.guests.remove()  # before the filesystem goes
    seconds, stopped = _seconds(large), _stopped(large)
    return [
        Result.of(CASES[0], seconds, _seconds(small), "s", "8 GiB"),
        Result.of(CASES[1], _seconds(small), copied, "s", "cp of the 8 GiB disk"),
        Result.of(CASES[2], stopped, _stopped(small), "ms", "8 GiB"),
    ]


def make_disk(path: Path, size: int, data: int) -> GuestDisk:
    """A raw disk with a small filesystem for the writer at its beginning, and data all over the rest."""
    disk = disks.raw(path, 64 * MIB, latency.AUTORUN)
    piece = random_file(path.with_suffix(".piece"), data // PIECES)
    with path.open("r+b") as file:
        file.truncate(size)
        for number in range(PIECES):
            file.seek(GIB + number * ((size - GIB) // PIECES) // MIB * MIB)
            file.write(piece.read_bytes())
    piece.unlink()
    return disk


def _cloned(done: Saved) -> Saved:
    way = done.record["source"], done.record["transfer"]
    if way != ("reflink", "clone"):
        raise RuntimeError(f"saved by {way}, not by reflink: {done.record['refused']}")
    return done


def _copy(path: Path) -> float:
    settle()
    copy = path.with_suffix(".copy")
    began = time.monotonic()
    tool("cp", "--reflink=never", "--sparse=auto", path, copy, timeout=300)
    os.sync()
    seconds = time.monotonic() - began
    copy.unlink()
    return seconds


def _seconds(found: list[Saved]) -> list[float]:
    return [each.seconds for each in found]


def _stopped(found: list[Saved]) -> list[float]:
    return [each.record["stopped_ms"] for each in found]


EXPERIMENT = Experiment("reflink", CASES, run)
