"""The data path against qemu-img convert and nbdcopy, from the same NBD server to the same filesystem.

    python -m bench datapath

An 8 GiB disk, its data half in a raw base and half in a qcow2 overlay, behind qemu-nbd. Ways take turns, medians count.
All end with their file on the device (O_DIRECT or fsync), except the one named "cached": qemu-img's default, which
leaves it to the page cache. A prober meanwhile writes 4 KiB synchronously to the same filesystem, as a guest does.
"""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench.experiment import MIB, Experiment, Options
from bench.results import Result
from lab.tools import tool
from lab.wait import until
from stillframe import heap
from stillframe.datapath.allocation import AllocationMap, map_of
from stillframe.datapath.control import Control
from stillframe.datapath.copy import copy
from stillframe.datapath.layout import Layout
from stillframe.datapath.qcow2 import qcow2
from stillframe.datapath.raw import raw
from stillframe.datapath.sink import FileSink
from stillframe.disks.nbd import NbdReader

RUNS = 3
DATA = 2 << 30
PAIRS = {
    "datapath-vs-qemu-img-qcow2": ("ours-qcow2", "qemu-img-qcow2"),
    "datapath-sha256-vs-qemu-img-qcow2": ("ours-qcow2-sha256", "qemu-img-qcow2"),
    "datapath-vs-qemu-img-cached": ("ours-qcow2", "qemu-img-qcow2-cached"),
    "datapath-vs-qemu-img-raw": ("ours-raw", "qemu-img-raw"),
    "datapath-vs-nbdcopy": ("ours-raw", "nbdcopy-raw"),
    "datapath-sha256-vs-none": ("ours-qcow2-sha256", "ours-qcow2"),
    "datapath-sha256-vs-sha256-alone": ("ours-qcow2-sha256", "sha256-alone"),
}
PROBER = """
import os, signal, sys, time
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_DSYNC, 0o600)
os.ftruncate(fd, 64 << 20)
running, taken, block = [True], [], os.urandom(4096)
signal.signal(signal.SIGTERM, lambda *_: running.clear())
while running:
    start = time.monotonic()
    os.pwrite(fd, block, len(taken) * 7919 * 4096 % (64 << 20))
    taken.append(time.monotonic() - start)
    time.sleep(0.002)
print(1000 * sorted(taken)[int(len(taken) * 0.99)])
"""


class Bench:
    """One directory with the disk, its server's socket, and the file that each way writes."""

    def __init__(self, directory: Path, data: int) -> None:
        self.data = data
        self.socket = directory / "s"
        self.disk = directory / "disk.qcow2"
        self.probed = directory / "probed"
        self._base = directory / "base.raw"
        self._out = directory / "out"

    def make_disk(self) -> None:
        """Random data, so that nothing on the way can make it shorter."""
        half = self.data // 2 // MIB
        fill(self._base, half)
        os.truncate(self._base, 8 << 30)
        tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", self._base, "-F", "raw", self.disk)
        fill(self._out, half)
        tool("qemu-io", "-f", "qcow2", "-c", f"write -q -s {self._out} 5G {half}M", self.disk)

    @contextmanager
    def served(self) -> Iterator[None]:
        """The disk behind qemu-nbd, with memory as the agent gives it."""
        argv = ["qemu-nbd", "-r", "-t", "-e", "8", "-k", self.socket, "-x", "disk", "-f", "qcow2", self.disk]
        server = subprocess.Popen([str(word) for word in argv], env={**os.environ, **heap.ENVIRONMENT})
        try:
            until(self.socket.exists, 10, "the socket of qemu-nbd")
            yield
        finally:
            server.terminate()
            server.wait(10)

    def ways(self) -> dict[str, Callable[[], None]]:
        """Each writes the whole image to `_out`."""
        url = f"nbd+unix:///disk?socket={self.socket}"
        convert = ("qemu-img", "convert", "-f", "raw")
        return {
            "ours-qcow2": lambda: self._ours(qcow2, digests=()),
            "ours-qcow2-sha256": lambda: self._ours(qcow2, digests=("sha256",)),
            "qemu-img-qcow2": lambda: self._tool(*convert, "-O", "qcow2", "-t", "none", url, self._out),
            "qemu-img-qcow2-cached": lambda: self._tool(*convert, "-O", "qcow2", url, self._out),
            "ours-raw": lambda: self._ours(raw, digests=()),
            "qemu-img-raw": lambda: self._tool(*convert, "-O", "raw", "-t", "none", url, self._out),
            "nbdcopy-raw": lambda: self._tool("nbdcopy", "--flush", url, self._out),
            "sha256-alone": self._sha256,
        }

    def clear(self) -> None:
        """Nothing of the last way is left to be written when the next one starts."""
        self._out.unlink(missing_ok=True)
        os.sync()

    def _ours(self, layout_of: Callable[[AllocationMap], Layout], *, digests: tuple[str, ...]) -> None:
        with NbdReader(self.socket, "disk") as reader:
            control = Control()
            layout = layout_of(map_of(reader, control.check))
            copy(reader, layout, FileSink(self._out, layout.length), control, digests=digests)

    def _tool(self, *argv: str | Path) -> None:
        tool(*argv, timeout=600)

    def _sha256(self) -> None:
        hashing, block = hashlib.sha256(), bytes(MIB)
        for _ in range(self.data // MIB):
            hashing.update(block)


def fill(path: Path, mebibytes: int) -> None:
    with path.open("wb") as file:
        for _ in range(mebibytes):
            file.write(random.randbytes(MIB))  # noqa: S311


@contextmanager
def probed(path: Path, p99: list[float]) -> Iterator[None]:
    """Appends the 99th percentile of a synchronous 4 KiB write, in milliseconds."""
    prober = subprocess.Popen([sys.executable, "-c", PROBER, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        until(path.exists, 10, "the prober")
        yield
    finally:
        prober.terminate()
        p99.append(float(prober.communicate(timeout=30)[0] or "nan"))


def run(options: Options) -> list[Result]:
    """Every way in turn, compared in pairs."""
    data = options.data(DATA)
    with tempfile.TemporaryDirectory(prefix="sfb-", dir=options.directory) as directory:
        seconds, p99 = measured(Bench(Path(directory), data), options.runs(RUNS))
    for name, values in seconds.items():
        rate = data / MIB / median(values)
        options.say(f"{name:24} {median(values):6.2f} s {rate:6.0f} MiB/s   write p99 {median(p99[name]):6.1f} ms")
    return [Result.of(case, seconds[ours], seconds[other], "s", other) for case, (ours, other) in PAIRS.items()]


def measured(bench: Bench, runs: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds and write latencies of each way, one value a run."""
    bench.make_disk()
    ways = {"at-rest": lambda: time.sleep(2), **bench.ways()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    p99: dict[str, list[float]] = {name: [] for name in ways}
    with bench.served():
        for _ in range(runs):
            for name, way in ways.items():
                bench.clear()
                with probed(bench.probed, p99[name]):
                    start = time.monotonic()
                    way()
                    seconds[name].append(time.monotonic() - start)
    return seconds, p99


EXPERIMENT = Experiment("datapath", tuple(PAIRS), run)
