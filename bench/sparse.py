"""The same data in a disk of 1 TiB and in one of 8 GiB, spread over its length: seconds, and the service's memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench import footprint
from bench.experiment import GIB, MIB, Experiment, Options
from bench.ground import ground, random_file, remove_images, saved
from bench.quiet import settle
from bench.results import Result
from lab.disks import GuestDisk
from lab.domains import Guest
from lab.service import Service
from lab.tools import tool

LARGE, SMALL = 1024 * GIB, 8 * GIB
DATA = GIB
PIECES = 64
RUNS = 5
CASES = ("sparse-1tib-vs-8gib", "service-memory-mib")


@dataclass(frozen=True, slots=True)
class Cost:
    """One capture."""

    seconds: float
    memory: float  # MiB, of the service and its guard at their peaks


def run(options: Options) -> list[Result]:
    """Captures in turn, and what they cost."""
    runs, data = options.runs(RUNS), options.data(DATA)
    large, small = [], []
    with ground(options.directory) as place:
        filler = random_file(place.directory / "filler", data)
        with place.service(place.directory / "service") as service:
            one = place.guests.boot(make_disk(place.directory / "large.qcow2", LARGE, filler))
            two = place.guests.boot(make_disk(place.directory / "small.qcow2", SMALL, filler))
            for number in range(1, runs + 1):
                large.append(cost(service, one, data))
                small.append(cost(service, two, data))
                options.say(
                    f"turn {number} of {runs}: 1 TiB {large[-1].seconds:.2f} s, 8 GiB {small[-1].seconds:.2f} s"
                )
    seconds = Result.of(CASES[0], [each.seconds for each in large], [each.seconds for each in small], "s", "8 GiB")
    most, usual = (max(each.memory for each in costs) for costs in (large, small))
    return [
        seconds,
        Result(CASES[1], most, usual, most / usual, "MiB", runs, "8 GiB; most of all runs, with the guard"),
    ]


def cost(service: Service, guest: Guest, data: int) -> Cost:
    """Of one capture with sha256."""
    settle()
    pids = (service.pid, *(pid for pid in service.children() if pid != service.pid))
    footprint.reset_peak_memory(pids)
    done = saved(service, guest)
    memory = footprint.peak_memory(pids) / MIB
    if done.data < data or not done.record["images"][0]["sha256"]:
        raise RuntimeError(f"a capture of {data} bytes has moved {done.data}: {done.record}")
    remove_images(service, done.record)
    return Cost(done.seconds, memory)


def make_disk(path: Path, size: int, filler: Path) -> GuestDisk:
    """A qcow2 disk with the filler's bytes in pieces over its whole length; no filesystem."""
    pieces = path.with_suffix(".pieces")
    length = filler.stat().st_size // PIECES
    with pieces.open("xb") as file, filler.open("rb") as source:
        file.truncate(size)
        for number in range(PIECES):
            file.seek(number * (size // PIECES))
            file.write(source.read(length))
    tool("qemu-img", "convert", "-f", "raw", "-O", "qcow2", pieces, path, timeout=600)
    pieces.unlink()
    return GuestDisk(path, "qcow2")


EXPERIMENT = Experiment("sparse", CASES, run)
