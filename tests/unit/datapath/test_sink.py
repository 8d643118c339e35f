from __future__ import annotations

import errno
import itertools
import mmap
import os
import random
import time
from pathlib import Path

import pytest

from stillframe.datapath.chunks import Run
from stillframe.datapath.reader import PIECE
from stillframe.datapath.sink import NEAR, PART, FileSink
from stillframe.errors.capture import NoSpace, WriteFailed

LENGTH = 40 << 20


def aligned(data: bytes) -> memoryview:
    memory = mmap.mmap(-1, max(1, len(data)))
    memory[: len(data)] = data
    return memoryview(memory)[: len(data)]


def write_parts(path: Path, parts: list[tuple[int, bytes]], length: int) -> FileSink:
    sink = FileSink(path, length)
    for offset, data in parts:
        sink.write(offset, aligned(data))
    sink.finish()
    return sink


@pytest.mark.parametrize("directory", ["disk", "memory"])
def test_what_is_written_is_in_the_file_with_holes_between(tmp_path: Path, directory: str) -> None:
    path = (tmp_path if directory == "disk" else Path("/dev/shm")) / f"sink-{os.getpid()}"  # noqa: S108
    make = random.Random(7).randbytes  # noqa: S311
    parts = [(0, make(65536)), (1 << 20, make(1 << 20)), (LENGTH - 65536 - 77, make(65536 + 77))]
    try:
        write_parts(path, parts, LENGTH)
        content = path.read_bytes()
        expected = bytearray(LENGTH)
        for offset, data in parts:
            expected[offset : offset + len(data)] = data
        assert content == bytes(expected)
        assert path.stat().st_blocks * 512 < 2 << 20
    finally:
        path.unlink()


def test_unaligned_memory_is_written_too(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "a", 8192)
    sink.write(0, memoryview(b"x" + bytes(8192) + b"y")[1:8193])
    sink.finish()
    assert (tmp_path / "a").read_bytes() == bytes(8192)


def test_the_mode_is_as_asked_whatever_the_umask(tmp_path: Path) -> None:
    FileSink(tmp_path / "a", 0).finish()
    FileSink(tmp_path / "b", 0, mode=0o644).finish()
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o644


def test_an_existing_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("mine")
    with pytest.raises(WriteFailed):
        FileSink(path, 10)
    assert path.read_text() == "mine"


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(WriteFailed, match="No such file"):
        FileSink(tmp_path / "none" / "a", 10)


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, NoSpace), (errno.EDQUOT, WriteFailed), (errno.EIO, WriteFailed)]
)
def test_a_refused_write_is_told_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    sink = FileSink(tmp_path / "a", 1 << 20)
    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(kind) as caught:
        sink.write(65536, aligned(bytes(65536)))
    monkeypatch.undo()
    values = caught.value.values  # type: ignore[attr-defined]
    assert values.get("offset", 65536) == 65536
    assert values.get("needed", (1 << 20) - 65536) == (1 << 20) - 65536
    sink.abort()
    sink.abort()


def test_a_filesystem_that_refuses_direct_writes_late_gets_cached_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite
    refused: list[int] = []

    def refuse_once(fd: int, data: memoryview, offset: int) -> int:
        if not refused:
            refused.append(offset)
            raise OSError(errno.EINVAL, "no")
        return real(fd, data, offset)

    sink = FileSink(tmp_path / "a", 65536)
    if not sink.direct:
        refused.append(0)
    monkeypatch.setattr(os, "pwrite", refuse_once)
    sink.write(0, aligned(b"z" * 65536))
    sink.finish()
    assert not sink.direct
    assert (tmp_path / "a").read_bytes() == b"z" * 65536


def test_the_blocks_of_a_run_are_taken_before_it_is_written_and_none_of_a_hole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    sink = FileSink(path, LENGTH, runs=[Run(0, 4 << 20), Run(16 << 20, 8 << 20)])
    sink.write(0, aligned(b"a" * 65536))
    assert path.stat().st_blocks * 512 == 4 << 20
    sink.write(16 << 20, aligned(b"b" * 65536))
    sink.finish()
    assert path.stat().st_blocks * 512 == 12 << 20
    assert path.stat().st_size == LENGTH
    content = path.read_bytes()
    assert content.strip(b"\0").replace(b"\0", b"") == b"a" * 65536 + b"b" * 65536


def test_a_run_whose_blocks_are_refused_is_written_all_the_same(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "a", 1 << 20, runs=[Run(0, 1 << 60)])
    sink.write(0, aligned(b"a" * 65536))
    sink.finish()
    assert (tmp_path / "a").read_bytes() == b"a" * 65536 + bytes((1 << 20) - 65536)


@pytest.mark.parametrize(("pieces", "near"), [(3, True), (3, False), (40, True)])
def test_only_pieces_of_a_guest_s_own_device_are_written_in_small_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: int, near: bool
) -> None:
    sizes: list[int] = []
    sink = FileSink(tmp_path / "a", 8 << 20)
    assert sink.direct  # else nothing here goes around the cache
    ticks = itertools.count(0.0, 1.0)
    whole = pieces * PART
    per_tick = whole / NEAR / (2 if near else 0.5)

    def write(_: int, data: memoryview, __: int) -> int:
        sizes.append(len(data))
        return len(data)

    monkeypatch.setattr(time, "monotonic", lambda: next(ticks) * per_tick)
    monkeypatch.setattr(os, "pwrite", write)
    sink.write(0, aligned(bytes(whole)))
    sink.write(whole, aligned(bytes(whole)))
    monkeypatch.undo()
    sink.abort()
    assert sizes == [PART] * pieces + ([PART] * pieces if near and whole <= PIECE else [whole])
