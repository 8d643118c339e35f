"""A running guest that writes, with 2 GiB of data in a disk of 8 GiB: our way and others, turn by turn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench import footprint, latency, plain_ways
from bench.experiment import GIB, MIB, Experiment, Options
from bench.ground import Saved, ground, random_file, remove_images, saved
from bench.instants import Instants, instants, of_capture
from bench.latency import Observation
from bench.nova_way import NovaWay, Passes
from bench.quiet import Say, Timed, calm, settle, timed, turns
from bench.results import Result
from lab import disks
from lab.disks import Files, GuestDisk
from lab.domains import Guest
from lab.service import Service
from lab.tools import tool

SIZE = 8 * GIB
DATA = 2 * GIB  # half of it in a raw base, half in a qcow2 layer over it
RUNS = 5
LAYER_AT = 5 * GIB  # where the data of the upper layer lies, free for the guest's filesystem


@dataclass(frozen=True, slots=True)
class Ours:
    """One capture."""

    saved: Saved
    writes: Observation
    temporary: int  # most bytes of files other than image and scratch
    scratch: int  # bytes that were written to scratch

    @property
    def disturbed(self) -> float:
        """What part of the processors' time others had meanwhile."""
        return self.writes.disturbed

    def __str__(self) -> str:
        frozen, scratch = self.saved.record["frozen_ms"], self.scratch / MIB
        return f"{self.saved.seconds:.2f} s, frozen {frozen:.0f} ms, scratch {scratch:.0f} MiB, {self.writes}"


@dataclass(frozen=True, slots=True)
class Nova:
    """One image made in three passes."""

    passes: Passes
    writes: Observation
    temporary: int
    one_hash: float  # seconds of the way if its upload made one sha256 instead of md5 and sha512

    @property
    def disturbed(self) -> float:
        """What part of the processors' time others had meanwhile."""
        return self.writes.disturbed

    def __str__(self) -> str:
        each = f"mirror {self.passes.mirror:.1f}, convert {self.passes.convert:.1f}, upload {self.passes.upload:.1f}"
        return f"{self.passes.seconds:.2f} s ({each}), frozen {self.passes.frozen_ms:.0f} ms, {self.writes}"


@dataclass(frozen=True, slots=True)
class Turn:
    """All ways once."""

    rest: Observation
    ours: Ours
    nova: Nova
    qemu_img: Timed
    floor: Timed
    instants: Instants  # ours
    calls: Instants  # libvirt's by hand


@dataclass(frozen=True, slots=True)
class Subject:
    """The guest that is saved, by whom, and where other ways put their files."""

    directory: Path
    service: Service
    guest: Guest
    disk: GuestDisk
    base: GuestDisk

    def turn(self, say: Say) -> Turn:
        """Each way, one after the other."""
        return Turn(
            calm("at rest", lambda: latency.baseline(self.guest), say),
            calm("ours", self.ours, say),
            calm("nova", self.nova, say),
            calm("qemu-img", lambda: timed(self._qemu_img), say),
            calm("floor", lambda: timed(self._floor), say),
            calm("instants", lambda: instants(lambda: of_capture(self.service, self.guest)), say),
            calm("calls", lambda: instants(self._calls), say),
        )

    def ours(self) -> Ours:
        """One capture through the API."""
        scratch = self.service.state / "scratch"
        others = footprint.new_files(self.directory, self.service.images, scratch)
        with (
            footprint.watched(others) as temporary,
            footprint.watched(footprint.lengths(scratch)) as written,
            latency.observed(self.guest) as writes,
        ):
            done = saved(self.service, self.guest)
        writes.forget_last(done.idle)
        remove_images(self.service, done.record)
        return Ours(done, writes, temporary.bytes, written.bytes)

    def nova(self) -> Nova:
        """One image as Nova makes it."""
        way = NovaWay(self.guest, self.disk, self.base, self.directory)
        try:
            others = footprint.new_files(self.directory, way.stored)
            with footprint.watched(others) as temporary, latency.observed(self.guest) as writes:
                passes = way.passes()
            settle()
            return Nova(passes, writes, temporary.bytes, passes.mirror + passes.convert + way.one_hash())
        finally:
            way.clear()

    def _qemu_img(self) -> None:
        plain_ways.qemu_img(self.guest, self.disk, SIZE, self.directory)

    def _calls(self) -> float:
        return plain_ways.calls(self.guest, self.disk, SIZE, self.directory)

    def _floor(self) -> None:
        plain_ways.floor([self.base.path, self.disk.path], self.directory)


def make_disk(directory: Path, data: int, files: Files) -> tuple[GuestDisk, GuestDisk]:
    """The disk and its base, whose filesystem has these files."""
    filler = random_file(directory / "filler", data // 2)
    base = disks.raw(directory / "base.raw", SIZE, {"filler": filler, **files})
    disk = disks.overlay(directory / "disk.qcow2", base)
    tool("qemu-io", "-f", "qcow2", "-c", f"write -q -s {filler} {LAYER_AT} {data // 2}", disk.path, timeout=300)
    filler.unlink()
    return disk, base


def run(options: Options) -> list[Result]:
    """The turns, and what they say."""
    runs, data = options.runs(RUNS), options.data(DATA)
    with ground(options.directory) as place:
        options.say(f"making a disk with {data // MIB} MiB of data")
        disk, base = make_disk(place.directory, data, latency.AUTORUN)
        with place.service(place.directory / "service") as service:
            subject = Subject(place.directory, service, place.guests.writing(disk), disk, base)
            latency.at_its_pace(subject.guest)
            gone = turns(subject.turn, runs, options.say)
    return _compared(gone, data)


def _compared(turns: list[Turn], data: int) -> list[Result]:
    if any(turn.ours.saved.data < data for turn in turns):
        raise RuntimeError(f"a capture has read less than the {data} bytes of data")
    ours = [turn.ours.saved.seconds for turn in turns]
    frozen = [turn.instants.frozen_ms for turn in turns]
    p99 = [turn.ours.writes.p99_ms for turn in turns]
    nova = [turn.nova for turn in turns]
    of = Result.of
    return [
        of("live-vs-nova", ours, [each.passes.seconds for each in nova], "s", "three passes, md5 and sha512"),
        of("live-vs-nova-one-hash", ours, [each.one_hash for each in nova], "s", "three passes, one sha256"),
        of("live-vs-qemu-img", ours, [turn.qemu_img.seconds for turn in turns], "s", "qemu-img convert, no hash"),
        of("live-vs-floor", ours, [turn.floor.seconds for turn in turns], "s", "the data read and written, no hash"),
        of(
            "live-temp-bytes", [float(turn.ours.temporary) for turn in turns],
            [float(each.temporary) for each in nova], "B", "three passes",
        ),
        of(
            "live-scratch-bytes", [float(turn.ours.scratch) for turn in turns],
            [float(turn.ours.saved.data) for turn in turns], "B", "the data",
        ),
        of("live-frozen-ms", frozen, [each.passes.frozen_ms for each in nova], "ms", "three passes"),
        of("live-frozen-vs-calls", frozen, [turn.calls.frozen_ms for turn in turns], "ms", "libvirt's calls alone"),
        of(
            "live-guest-longest-write-ms", [turn.ours.writes.longest_ms for turn in turns],
            [each.writes.longest_ms for each in nova], "ms", "three passes",
        ),
        of("live-guest-p99-vs-baseline", p99, [turn.rest.p99_ms for turn in turns], "ms", "the guest left alone"),
        of("live-guest-p99-vs-nova", p99, [each.writes.p99_ms for each in nova], "ms", "three passes"),
    ]  # fmt: skip


CASES = (
    "live-vs-nova", "live-vs-nova-one-hash", "live-vs-qemu-img", "live-vs-floor", "live-temp-bytes",
    "live-scratch-bytes", "live-frozen-ms", "live-frozen-vs-calls", "live-guest-longest-write-ms",
    "live-guest-p99-vs-baseline", "live-guest-p99-vs-nova",
)  # fmt: skip
EXPERIMENT = Experiment("live", CASES, run)
