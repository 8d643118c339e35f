"""What a capture of a quiet guest writes to the block device, on a filesystem with a device of its own."""

from __future__ import annotations

from pathlib import Path

from bench import footprint, live
from bench.experiment import GIB, MIB, Experiment, Options
from bench.ground import ground, remove_images, saved
from bench.nova_way import NovaWay
from bench.quiet import settle
from bench.results import Result
from lab.filesystems import mounted

RUNS = 3
FILESYSTEM = 24 * GIB
CASES = ("live-device-bytes-vs-data", "live-device-bytes-vs-nova")


def run(options: Options) -> list[Result]:
    """The bytes that reach the device until all is durable, against the bytes of data, and against Nova's way."""
    runs, data = options.runs(RUNS), options.data(live.DATA)
    ours, moved, nova = [], [], []
    with ground(options.directory) as place, mounted("ext4", place.directory / "fs", FILESYSTEM, place.host) as there:
        disk, base = live.make_disk(there, data, {})
        guest = place.guests.boot(disk)
        try:
            with place.service(there / "service") as service:
                for number in range(1, runs + 1):
                    settle()
                    before = footprint.device_written(there)
                    done = saved(service, guest)
                    ours.append((footprint.device_written(there) - before) / MIB)
                    moved.append(done.data / MIB)
                    remove_images(service, done.record)
                    nova.append(_nova(NovaWay(guest, disk, base, there), there))
                    options.say(
                        f"turn {number} of {runs}: {ours[-1]:.0f} MiB for {moved[-1]:.0f} of data, nova {nova[-1]:.0f}"
                    )
        finally:
            place.guests.remove()  # before the filesystem goes
    return [
        Result.of(CASES[0], ours, moved, "MiB", "the data"),
        Result.of(CASES[1], ours, nova, "MiB", "three passes"),
    ]


def _nova(way: NovaWay, there: Path) -> float:
    settle()
    before = footprint.device_written(there)
    try:
        way.passes()
        return (footprint.device_written(there) - before) / MIB
    finally:
        way.clear()


EXPERIMENT = Experiment("device", CASES, run)
