from __future__ import annotations

import hashlib
import mmap
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.tools import tool
from lab.wait import until
from stillframe.datapath.allocation import CLUSTER, map_of
from stillframe.datapath.control import Control
from stillframe.datapath.copy import copy
from stillframe.datapath.layout import Layout
from stillframe.datapath.qcow2 import qcow2
from stillframe.datapath.raw import raw
from stillframe.datapath.reader import Extent, read
from stillframe.datapath.sink import FileSink
from stillframe.disks.nbd import NbdReader
from stillframe.errors.capture import CaptureCancelled, DeadlineExceeded, NoSpace, ReadFailed
from tests.unit.datapath.fakes import PatternReader, nothing

MIB, GIB = 1 << 20, 1 << 30

# around every unit that matters: sectors, pages, clusters, one L2 table (512 MiB), one refcount block (2 GiB)
EDGES = st.builds(
    lambda unit, factor, off: max(0, unit * factor + off),
    st.sampled_from([1, 512, 4096, CLUSTER, MIB, 512 * MIB, 2 * GIB]),
    st.integers(0, 3),
    st.sampled_from([-513, -512, -1, 0, 1, 511, 512, 4096]),
)
SIZES = EDGES | st.integers(0, 4 * MIB)
RANGES = st.lists(st.tuples(EDGES, st.integers(1, 300 * 1024)), max_size=8)


@contextmanager
def served(disk: Path, format_: str, socket_path: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    argv = ["qemu-nbd", "-r", "-t", "-e", "4", "-k", str(socket_path), "-x", "disk", "-f", format_, *options, str(disk)]
    server = subprocess.Popen(argv)
    try:
        until(socket_path.exists, 10, "the socket of qemu-nbd")
        yield server
    finally:
        server.kill()
        server.wait(10)
        socket_path.unlink(missing_ok=True)


@pytest.fixture
def chain(tmp: Path) -> Path:
    """An overlay on a raw base: data in the first MiB (base) and at 40 MiB (overlay), zeros over the second MiB."""
    base, top = tmp / "base.raw", tmp / "top.qcow2"
    tool("qemu-img", "create", "-q", "-f", "raw", base, "64M")
    tool("qemu-io", "-f", "raw", "-c", "write -q -P 1 0 2M", base)
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", top)
    tool("qemu-io", "-f", "qcow2", "-c", "write -q -z 1M 1M", "-c", "write -q -P 2 40M 192k", top)
    return top


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(SIZES, RANGES)
def test_any_disk_as_qcow2_is_sound_and_equal_to_qemu(size: int, ranges: list[tuple[int, int]]) -> None:
    directory = Path(tempfile.mkdtemp(prefix="sft-", dir="/tmp"))
    try:
        disk, source, image = PatternReader(size, ranges), directory / "source", directory / "image"
        disk.save(source)
        layout = qcow2(map_of(disk, nothing))
        made = copy(disk, layout, FileSink(image, layout.length), Control(), digests=("sha256",))
        assert made.digests["sha256"] == sha256(image)
        tool("qemu-img", "check", "-q", "-f", "qcow2", image)
        tool("qemu-img", "compare", "-q", "-f", "raw", "-F", "qcow2", source, image)
    finally:
        shutil.rmtree(directory)


@pytest.mark.parametrize(("layout_of", "format_"), [(qcow2, "qcow2"), (raw, "raw")])
def test_a_chain_is_copied_through_nbd(tmp: Path, chain: Path, layout_of: type, format_: str) -> None:
    image = tmp / "image"
    with served(chain, "qcow2", tmp / "s"), NbdReader(tmp / "s", "disk") as reader:
        layout: Layout = layout_of(map_of(reader, nothing))
        made = copy(reader, layout, FileSink(image, layout.length), Control(), digests=("sha256",))
    assert made.data_bytes == MIB + 192 * 1024
    assert made.digests["sha256"] == sha256(image)
    assert image.stat().st_blocks * 512 < 2 * MIB
    tool("qemu-img", "compare", "-q", "-f", "qcow2", "-F", format_, chain, image)


def test_a_written_qcow2_takes_writes(tmp: Path, chain: Path) -> None:
    image = tmp / "image"
    with served(chain, "qcow2", tmp / "s"), NbdReader(tmp / "s", "disk") as reader:
        layout = qcow2(map_of(reader, nothing))
        copy(reader, layout, FileSink(image, layout.length), Control(), digests=())
    tool("qemu-io", "-f", "qcow2", "-c", "write -q -P 7 512k 40M", image)
    tool("qemu-io", "-f", "qcow2", "-c", "read -q -P 1 0 512k", "-c", "read -q -P 7 512k 40M", image)
    tool("qemu-img", "check", "-q", "-f", "qcow2", image)


def test_extents_are_those_of_the_whole_chain(tmp: Path, chain: Path) -> None:
    with served(chain, "qcow2", tmp / "s"), NbdReader(tmp / "s", "disk") as reader:
        assert reader.size == 64 * MIB
        extents = list(reader.extents(nothing))
        assert read(reader, 40 * MIB - 1, 3, nothing) == b"\0\2\2"
        assert read(reader, 64 * MIB - 2, 100, nothing) == b"\0\0"
    assert [(e.offset, e.length) for e in merged(extents) if e.data] == [(0, MIB), (40 * MIB, 192 * 1024)]
    assert sum(extent.length for extent in extents) == 64 * MIB


def test_a_server_without_allocation_has_data_everywhere(tmp: Path) -> None:
    disk = tmp / "disk"
    tool("qemu-img", "create", "-q", "-f", "raw", disk, "3M")
    with served(disk, "raw", tmp / "s", "--allocation-depth"), NbdReader(tmp / "s", "disk") as reader:
        reader._maps = False
        assert merged(list(reader.extents(nothing))) == [Extent(0, 3 * MIB, data=True)]


def test_what_cannot_be_reached_is_told(tmp: Path, chain: Path) -> None:
    with pytest.raises(ReadFailed, match="No such file"):
        NbdReader(tmp / "none", "disk")
    with served(chain, "qcow2", tmp / "s"), pytest.raises(ReadFailed, match="other"):
        NbdReader(tmp / "s", "other")


def test_a_server_that_never_answers_is_given_up(tmp: Path) -> None:
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp / "s"))
        mute.listen()
        start = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            NbdReader(tmp / "s", "disk", timeout=0.3)
        assert time.monotonic() - start < 2


def test_a_killed_server_is_a_failed_read(tmp: Path, chain: Path) -> None:
    with served(chain, "qcow2", tmp / "s") as server, NbdReader(tmp / "s", "disk") as reader:
        server.kill()
        server.wait(10)
        with pytest.raises(ReadFailed):
            read(reader, 0, MIB, nothing)


def test_a_cancel_ends_a_copy_from_a_server_that_hangs(tmp: Path, chain: Path) -> None:
    control = Control()
    with served(chain, "qcow2", tmp / "s") as server, NbdReader(tmp / "s", "disk") as reader:
        layout = raw(map_of(reader, nothing))
        sink = FileSink(tmp / "image", layout.length)
        server.send_signal(signal.SIGSTOP)
        threading.Timer(0.3, control.cancel, [CaptureCancelled()]).start()
        start = time.monotonic()
        with pytest.raises(CaptureCancelled):
            copy(reader, layout, sink, control, digests=("sha256",))
        assert time.monotonic() - start < 0.3 + 0.3
        server.send_signal(signal.SIGCONT)


def test_a_server_that_hangs_does_not_arrive_and_one_that_has_answered_does(tmp: Path, chain: Path) -> None:
    asked: list[None] = []

    def cancelled() -> None:
        asked.append(None)
        if len(asked) == 2:
            raise CaptureCancelled

    with served(chain, "qcow2", tmp / "s") as server, NbdReader(tmp / "s", "disk") as reader:
        reader.arriving(cancelled)  # nothing is in flight
        server.send_signal(signal.SIGSTOP)
        with memoryview(bytearray(MIB)) as buffer:
            ticket = reader.start(0, buffer)
            with pytest.raises(CaptureCancelled):
                reader.arriving(cancelled)
            server.send_signal(signal.SIGCONT)
            reader.arriving(nothing)
            later = reader.start(40 * MIB, buffer[:1024])
            reader.finish(later, nothing)  # answered in order, so the first one has been as well
            reader.arriving(cancelled)
            reader.finish(ticket, nothing)
            assert buffer[-1] == 1
    assert len(asked) == 2


def test_a_server_killed_before_it_answers_is_a_failed_read(tmp: Path, chain: Path) -> None:
    with served(chain, "qcow2", tmp / "s") as server, NbdReader(tmp / "s", "disk") as reader:
        server.send_signal(signal.SIGSTOP)
        ticket = reader.start(0, memoryview(bytearray(MIB)))
        server.kill()
        server.wait(10)
        with pytest.raises(ReadFailed):
            reader.arriving(nothing)  # the end of the connection, or word of it
            reader.finish(ticket, nothing)


def test_a_closed_reader_has_left_even_while_its_error_is_kept(tmp: Path, chain: Path) -> None:
    with served(chain, "qcow2", tmp / "s", "--shared=1") as server:
        reader = NbdReader(tmp / "s", "disk")
        with pytest.raises(ReadFailed) as kept:
            reader.start(1 << 50, memoryview(bytearray(512)))
        reader.close()
        reader.close()
        with NbdReader(tmp / "s", "disk", timeout=5) as second:  # one client at a time
            assert read(second, 0, 1, nothing) == b"\1"
        assert kept.value.__cause__ is not None
        assert server.poll() is None


def test_the_memory_of_reads_is_given_back(tmp: Path, chain: Path) -> None:
    with served(chain, "qcow2", tmp / "s"), mmap.mmap(-1, 2 * MIB) as memory:
        reader = NbdReader(tmp / "s", "disk")
        with memoryview(memory) as buffer:
            reader.finish(reader.start(0, buffer[:MIB]), nothing)
            reader.start(0, buffer[MIB:])
            reader.close()
        memory.close()  # raises BufferError while anybody holds a piece of it


@pytest.mark.parametrize("filesystem", ["ext4", "tmpfs"])
def test_a_full_store_is_told(tmp: Path, filesystem: str) -> None:
    store = tmp / "store"
    store.mkdir()
    disk = PatternReader(24 * MIB, [(0, 24 * MIB)])
    with mounted(store, filesystem, 16 * MIB):
        layout = raw(map_of(disk, nothing))
        with pytest.raises(NoSpace) as caught:
            copy(disk, layout, FileSink(store / "image", layout.length), Control(), digests=("sha256",))
    assert 8 * MIB <= caught.value.values["needed"] <= 24 * MIB
    assert caught.value.values["free"] < MIB


def test_a_sparse_tebibyte_needs_little_memory_and_time(tmp: Path) -> None:
    disk = tmp / "disk"
    tool("qemu-img", "create", "-q", "-f", "qcow2", disk, "1T")
    tool("qemu-io", "-f", "qcow2", "-c", "write -q -P 3 700G 64M", disk)
    with served(disk, "qcow2", tmp / "s"):
        program = f"""
import resource, sys, time
from pathlib import Path
from stillframe.datapath.allocation import map_of
from stillframe.datapath.control import Control
from stillframe.datapath.copy import copy
from stillframe.datapath.qcow2 import qcow2
from stillframe.datapath.sink import FileSink
from stillframe.disks.nbd import NbdReader
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.monotonic()
with NbdReader(Path({str(tmp / "s")!r}), "disk") as reader:
    layout = qcow2(map_of(reader, lambda: None))
    copy(reader, layout, FileSink(Path({str(tmp / "image")!r}), layout.length), Control(), digests=("sha256",))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, time.monotonic() - start)
"""
        kib, seconds = tool(sys.executable, "-c", program).split()
    assert int(kib) < 64 * 1024
    assert float(seconds) < 10
    tool("qemu-img", "check", "-q", "-f", "qcow2", tmp / "image")
    tool("qemu-io", "-r", "-f", "qcow2", "-c", "read -q -P 3 700G 64M", "-c", "read -q -P 0 600G 64M", tmp / "image")


@contextmanager
def mounted(directory: Path, filesystem: str, size: int) -> Iterator[None]:
    if filesystem == "tmpfs":
        tool("mount", "-t", "tmpfs", "-o", f"size={size}", "none", directory)
    else:
        file = directory.parent / "filesystem"
        with file.open("wb") as new:
            new.truncate(size)
        tool("mkfs.ext4", "-q", file)
        tool("mount", "-o", "loop", file, directory)
    try:
        yield
    finally:
        tool("umount", directory)


def merged(extents: list[Extent]) -> list[Extent]:
    result: list[Extent] = []
    for extent in extents:
        if result and result[-1].data == extent.data:
            result[-1] = Extent(result[-1].offset, result[-1].length + extent.length, extent.data)
        else:
            result.append(extent)
    return result


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
