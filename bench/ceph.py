"""Disks on Ceph: a snapshot streamed to a file, a chain imported, and an md5 on the way.

A 2 GiB image with random data in its first half, whose snapshot is read by librbd here, by qemu-img convert -W -m 16,
and by nbdcopy from qemu-nbd; a qcow2 chain with as much data is written into a new image. The cluster (one OSD) lies on
the same disk and the same processors as everything else: ratios within a run are what counts.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench.datapath import Bench, fill
from bench.experiment import GIB, MIB, Experiment, Options
from bench.quiet import settle
from bench.results import Result
from lab.ceph import CephCluster
from lab.tools import tool
from lab.wait import until
from stillframe.datapath.allocation import map_of
from stillframe.datapath.control import Control
from stillframe.datapath.copy import copy
from stillframe.datapath.raw import raw
from stillframe.datapath.reader import Reader
from stillframe.datapath.sink import FileSink, Sink
from stillframe.disks.nbd import NbdReader
from stillframe.disks.rbd import images, snapshots
from stillframe.disks.rbd.cluster import Cluster
from stillframe.disks.rbd.names import Endpoint
from stillframe.disks.rbd.reader import RbdReader
from stillframe.disks.rbd.sink import RbdSink

RUNS = 6  # even: each way has as many turns before the one it is compared with as after it
DATA = GIB
SIZE = 2 * GIB  # of the image: an md5 is of its holes too
CHAIN = 8 * GIB
CASES = ("ceph-stream-vs-qemu-img", "ceph-stream-vs-nbdcopy", "ceph-import-vs-qemu-img", "ceph-md5-vs-hash-alone")
USER = "nova"
SNAP = "held"


class Ways:
    """A cluster with the image `vms/disk`, its snapshot, and a qcow2 chain beside it."""

    def __init__(self, directory: Path, ceph: CephCluster, data: int) -> None:
        self._directory = directory
        self._ceph = ceph
        self._data = data
        self._chain = Bench(directory, data)
        self._out = directory / "out"
        self._cluster = Cluster(Endpoint(ceph.monitors, USER, ceph.key(USER)))
        self._disk = self._cluster.image("vms", "disk")
        self._target = self._cluster.image("volumes", "import")

    def make(self) -> None:
        """The image, its snapshot, the chain."""
        filler = self._directory / "filler"
        fill(filler, self._data // MIB)
        self._ceph.rbd("import", "--no-progress", filler, str(self._disk), timeout=600)
        self._ceph.rbd("resize", "--no-progress", "--size", f"{SIZE // MIB}M", str(self._disk))
        snapshots.create(self._cluster, self._disk, SNAP)
        filler.unlink()
        self._chain.make_disk()

    def all(self) -> dict[str, Callable[[], None]]:
        """Each ends with its bytes on the disk."""
        return {
            "stream": self._stream,
            "stream-md5": lambda: self._stream("md5"),
            "qemu-img-stream": self._qemu_img_stream,
            "nbdcopy-stream": self._nbdcopy,
            "md5-alone": self._md5,
            "import": self._import,
            "qemu-img-import": self._qemu_img_import,
        }

    def clear(self) -> None:
        """Nothing of the last way is left to be written, or to be deleted, when the next one starts."""
        self._out.unlink(missing_ok=True)
        images.remove(self._cluster, self._target, "bench")
        settle()

    def prepare_target(self) -> None:
        """The empty image that imports go to."""
        images.create(self._cluster, self._target, CHAIN, "bench")

    def _stream(self, *digests: str) -> None:
        with RbdReader(self._cluster, self._disk, SNAP) as reader:
            _copied(reader, FileSink(self._out, reader.size), *digests)

    def _qemu_img_stream(self) -> None:
        source = self._options("disk", f",file.snapshot={SNAP}")
        argv = ("qemu-img", "convert", "-W", "-m", "16", "--image-opts", "-O", "raw", "-t", "none", source, self._out)
        tool(*argv, timeout=600)

    def _nbdcopy(self) -> None:
        socket = self._directory / "n"
        argv = ["qemu-nbd", "-r", "-e", "8", "-k", str(socket), "--image-opts"]
        with served([*argv, self._options("disk", f",file.snapshot={SNAP}")], socket):
            tool("nbdcopy", "--flush", f"nbd+unix:///?socket={socket}", self._out, timeout=600)

    def _import(self) -> None:
        with self._chain.served(), NbdReader(self._chain.socket, "disk") as reader:
            _copied(reader, RbdSink(self._cluster, self._target))

    def _qemu_img_import(self) -> None:
        target = self._options("import", "", pool="volumes")
        argv = ("qemu-img", "convert", "-n", "-W", "-f", "qcow2", "--target-image-opts", self._chain.disk, target)
        tool(*argv, timeout=600)

    def _md5(self) -> None:
        hashing, block = hashlib.md5(usedforsecurity=False), bytes(MIB)
        for _ in range(SIZE // MIB):
            hashing.update(block)

    def _options(self, image: str, more: str, pool: str = "vms") -> str:
        place = f"file.pool={pool},file.image={image},file.conf={self._ceph.conf},file.user={USER}"
        return f"driver=raw,file.driver=rbd,{place}{more}"


def _copied(reader: Reader, sink: Sink, *digests: str) -> None:
    control = Control()
    copy(reader, raw(map_of(reader, control.check)), sink, control, digests=digests)


@contextmanager
def served(argv: list[str], socket: Path) -> Iterator[None]:
    """A qemu-nbd that answers on the socket."""
    server = subprocess.Popen(argv)
    try:
        until(socket.exists, 20, "the socket of qemu-nbd")
        yield
    finally:
        server.terminate()
        server.wait(10)
        socket.unlink(missing_ok=True)


def run(options: Options) -> list[Result]:
    """Every way in turn, compared in pairs."""
    data = options.data(DATA)
    directory = Path(tempfile.mkdtemp(prefix="sfb-", dir=options.directory))
    try:
        with CephCluster(directory / "c", cache=256 * MIB) as ceph:
            seconds = measured(Ways(directory, ceph, data), options.runs(RUNS))
    finally:
        shutil.rmtree(directory)
    for name, values in seconds.items():
        options.say(f"{name:24} {median(values):6.2f} s {data / MIB / median(values):6.0f} MiB/s")
    on_top = [max(0.0, one - two) for one, two in zip(seconds["stream-md5"], seconds["stream"], strict=True)]
    return [
        Result.of(CASES[0], seconds["stream"], seconds["qemu-img-stream"], "s", "qemu-img convert -W -m 16"),
        Result.of(CASES[1], seconds["stream"], seconds["nbdcopy-stream"], "s", "qemu-nbd and nbdcopy"),
        Result.of(CASES[2], seconds["import"], seconds["qemu-img-import"], "s", "qemu-img convert -n -W"),
        Result.of(CASES[3], on_top, seconds["md5-alone"], "s", "md5 of as many bytes; ours: what it adds"),
    ]


def measured(ways: Ways, runs: int) -> dict[str, list[float]]:
    """Seconds of each way, one value a run; every other run goes backwards, as the first to write pays for others."""
    ways.make()
    turns = list(ways.all().items())
    seconds: dict[str, list[float]] = {name: [] for name, _ in turns}
    for number in range(runs):
        for name, way in turns if number % 2 == 0 else reversed(turns):
            ways.clear()
            ways.prepare_target()
            began = time.monotonic()
            way()
            seconds[name].append(time.monotonic() - began)
    ways.clear()
    return seconds


EXPERIMENT = Experiment("ceph", CASES, run)
