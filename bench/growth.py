"""One capture after another of the same guest: what the service keeps of them is their records, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.experiment import GIB, MIB, Experiment, Options
from bench.ground import ground, remove_images
from bench.results import Result
from lab import captures, disks
from lab.domains import Guest
from lab.service import Service
from lab.wait import until

COUNT = 100
WARM = 120  # captures until caches, pools and the allocator's arenas have grown to their size
EACH = 20
SIZE = GIB // 16
KIB = 1 << 10
UNITS = {"memory": "MiB", "threads": "", "descriptors": "", "database": "KiB", "journal": "KiB"}
CASES = tuple(f"growth-{what}" for what in UNITS)


def run(options: Options) -> list[Result]:
    """What there is once all is warm, and after so many captures more."""
    count = options.runs(COUNT)
    warm = options.runs(WARM)
    with ground(options.directory) as place, place.service(place.directory / "service") as service:
        guest = place.guests.boot(disks.raw(place.directory / "disk", SIZE, {"some": bytes(MIB)}))
        before = _captured(options, service, guest, range(1, warm + 1))
        after = _captured(options, service, guest, range(warm + 1, warm + count + 1))
    against = f"after the first {warm}"
    return [
        Result(f"growth-{what}", after[what], before[what], after[what] / before[what], unit, count, against)
        for what, unit in UNITS.items()
    ]


def _captured(options: Options, service: Service, guest: Guest, numbers: range) -> Mapping[str, float]:
    """What is kept after the captures with these numbers; told on the way too."""
    for number in numbers:
        remove_images(service, captures.capture(service, guest))
        if number % EACH == 0:
            now = ", ".join(f"{what} {value:.0f}" for what, value in kept(service).items())
            options.say(f"after {number} captures: {now}")
    return kept(service)


def kept(service: Service) -> Mapping[str, float]:
    """What the service and its guard have now, once the last capture is over."""
    until(lambda: not captures.left_behind(service), 10, "the end of the last capture")
    processes = [Path(f"/proc/{pid}") for pid in {service.pid, *service.children()}]
    return {
        "memory": sum(int(_field(process, "VmRSS")) * KIB for process in processes) / MIB,
        "threads": sum(int(_field(process, "Threads")) for process in processes),
        "descriptors": sum(len(list((process / "fd").iterdir())) for process in processes),
        "database": _size(service.state, "stillframe.sqlite") / KIB,
        "journal": _size(service.state, "journal.sqlite") / KIB,
    }


def _field(process: Path, name: str) -> str:
    lines = (process / "status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


def _size(directory: Path, name: str) -> int:
    """With what has not been written back yet."""
    return sum(path.stat().st_size for path in directory.glob(f"{name}*"))


EXPERIMENT = Experiment("growth", CASES, run)
