from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.wait import until
from stillframe.datapath.allocation import CLUSTER, map_of
from stillframe.datapath.control import Control
from stillframe.datapath.copy import FEWEST, MEMORY, Copied, copy
from stillframe.datapath.drain import HOLE
from stillframe.datapath.layout import Layout, Metadata
from stillframe.datapath.qcow2 import qcow2
from stillframe.datapath.raw import raw
from stillframe.datapath.reader import PIECE, Check
from stillframe.errors.capture import CaptureCancelled, DeadlineExceeded, ReadFailed, WriteFailed
from tests.unit.datapath.fakes import BLOCK, MemorySink, PatternReader, nothing

MIB = 1 << 20
BIG = [(0, 80 * MIB)]


def copied(
    reader: PatternReader, sink: MemorySink, control: Control | None = None, **how: Any
) -> tuple[Layout, Copied]:
    layout = how.pop("layout_of", raw)(map_of(reader, nothing))
    return layout, copy(reader, layout, sink, control or Control(), **{"digests": ("sha256",), **how})


def no_drains() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name.startswith("drain-")]


def file_of(layout: Layout, reader: PatternReader) -> bytes:
    content = bytearray(layout.length)
    for piece in layout.pieces():
        data = piece.data if isinstance(piece, Metadata) else reader.content(piece.source, piece.length)
        content[piece.target : piece.target + piece.length] = data
    return bytes(content)


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 60 * CLUSTER),
    st.lists(st.tuples(st.integers(0, 60 * CLUSTER), st.integers(0, 20 * CLUSTER)), max_size=8),
    st.sampled_from([raw, qcow2]),
)
def test_the_sink_gets_the_file_and_the_hash_is_its(
    size: int, ranges: list[tuple[int, int]], layout_of: Callable[..., Layout]
) -> None:
    reader, sink, control = PatternReader(size, ranges), MemorySink(), Control()
    layout, result = copied(reader, sink, control, layout_of=layout_of)
    assert bytes(sink.stream) == file_of(layout, reader)
    assert result.digests["sha256"] == hashlib.sha256(sink.stream).hexdigest()
    assert result.length == layout.length
    assert sink.finished
    assert control.meter.progress().done == layout.length - layout.hole_bytes
    assert not reader.in_flight


def test_without_a_digest_there_is_none() -> None:
    _, result = copied(PatternReader(10 * MIB, [(5, MIB)]), MemorySink(), digests=())
    assert result.digests == {}
    assert result.data_bytes == MIB + CLUSTER  # whole clusters


def test_several_hashes_are_taken_in_one_pass() -> None:
    sink = MemorySink()
    _, result = copied(PatternReader(10 * MIB, [(5, 3 * MIB)]), sink, digests=("md5", "sha512"))
    assert result.digests == {name: hashlib.new(name, sink.stream).hexdigest() for name in ("md5", "sha512")}


@pytest.mark.parametrize(("piece", "most"), [(PIECE, MEMORY // PIECE * PIECE), (4 * MIB, FEWEST * 4 * MIB)])
def test_memory_stays_bounded_when_the_sink_is_slow(piece: int, most: int) -> None:
    reader, sink = PatternReader(80 * MIB, BIG), MemorySink(hang_at=0)
    sink.piece = piece
    thread = threading.Thread(target=copied, args=(reader, sink))
    thread.start()
    assert sink.hanging.wait(10)
    until(lambda: reader.bytes_asked >= most and not reader.in_flight, 10, "the reader to run out of buffers")
    assert reader.bytes_asked == most  # nothing was given back: that is all there is
    sink.release.set()
    thread.join(20)
    assert bytes(sink.stream) == reader.content(0, 80 * MIB)


def test_a_reader_is_never_asked_for_more_than_suits_it_whatever_suits_the_sink() -> None:
    class Large(MemorySink):
        piece = 4 * MIB

    asked: list[int] = []

    class Small(PatternReader):
        piece, window = MIB, 2 * MIB

        def start(self, offset: int, buffer: memoryview) -> Hashable:
            asked.append(len(buffer))
            return super().start(offset, buffer)

    reader, sink = Small(80 * MIB, BIG), Large()
    copied(reader, sink)
    assert bytes(sink.stream) == reader.content(0, 80 * MIB)
    assert max(asked) == MIB
    assert reader.most_bytes_in_flight == Small.window


@pytest.mark.parametrize("window", [MIB, 3 * MIB, 8 * MIB])
def test_a_reader_has_as_much_in_flight_as_suits_it_and_no_more(window: int) -> None:
    reader, sink = PatternReader(20 * MIB, [(0, 20 * MIB)]), MemorySink()
    reader.piece, reader.window = MIB, window
    copied(reader, sink)
    assert bytes(sink.stream) == reader.content(0, 20 * MIB)
    assert reader.most_bytes_in_flight == window


@pytest.mark.parametrize("in_flight", [1, 3])
def test_nothing_is_written_while_the_disk_is_read_for_what_follows(in_flight: int) -> None:
    sink = MemorySink()
    written: list[int] = []  # chunks, each time that the disk came to rest

    class Telling(PatternReader):
        piece, window = MIB, in_flight * MIB

        def arriving(self, check: Check) -> None:
            until(lambda: len(sink.writes) >= len(written), 10, "what was handed over to be written")
            written.append(len(sink.writes))

    sink.piece = MIB
    reader = Telling(20 * MIB, [(0, 20 * MIB)])
    copied(reader, sink)
    assert bytes(sink.stream) == reader.content(0, 20 * MIB)
    assert written == list(range(20 - in_flight))


def test_a_failing_read_ends_all() -> None:
    sink = MemorySink()
    with pytest.raises(ReadFailed):
        copied(PatternReader(80 * MIB, BIG, fail_at=50 * MIB), sink)
    assert sink.aborted.is_set()
    assert not sink.finished
    assert no_drains()


def test_a_failing_write_ends_all_also_while_the_reader_hangs() -> None:
    sink = MemorySink(fail_at=3 * MIB)
    with pytest.raises(WriteFailed):
        copied(PatternReader(80 * MIB, BIG, hang_at=10 * MIB), sink)
    assert sink.aborted.is_set()
    assert no_drains()


def test_a_cancel_ends_a_copy_whose_reader_hangs() -> None:
    reader, sink, control = PatternReader(80 * MIB, BIG, hang_at=40 * MIB), MemorySink(), Control()
    cancelled_at: list[float] = []

    def cancel() -> None:
        assert reader.hanging.wait(10)
        cancelled_at.append(time.monotonic())
        control.cancel(CaptureCancelled())

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(CaptureCancelled):
        copied(reader, sink, control)
    assert time.monotonic() - cancelled_at[0] < 0.5
    thread.join()
    assert sink.aborted.is_set()
    assert no_drains()


@pytest.mark.parametrize("where", [{"hang_at": 0}, {"hang_at_end": True}])
def test_a_sink_that_hangs_is_left_behind_and_aborts_later(
    monkeypatch: pytest.MonkeyPatch, where: dict[str, Any]
) -> None:
    monkeypatch.setattr("stillframe.datapath.copy.GRACE", 0.1)
    sink = MemorySink(**where)
    with pytest.raises(DeadlineExceeded, match="image at byte"):
        copied(PatternReader(80 * MIB, BIG), sink, Control(stall=0.3))
    assert not sink.aborted.is_set()
    sink.release.set()
    until(no_drains, 10, "the end of the threads")
    assert sink.aborted.is_set() or sink.finished


def test_a_reader_that_hangs_is_a_stall() -> None:
    with pytest.raises(DeadlineExceeded, match="Reading the held disk at byte 0"):
        copied(PatternReader(MIB, [(0, MIB)], hang_at=0), MemorySink(), Control(stall=0.3))


def test_hashing_a_huge_hole_can_be_cancelled() -> None:
    class Nowhere(MemorySink):
        def zeros(self, offset: int, length: int) -> None:
            self.hanging.set()

    sink, control = Nowhere(), Control(stall=5)

    def cancel() -> None:
        assert sink.hanging.wait(10)
        control.cancel(CaptureCancelled())

    threading.Thread(target=cancel).start()
    with pytest.raises(CaptureCancelled):
        copied(PatternReader(1 << 45, []), sink, control)
    assert no_drains()


def test_a_long_hole_is_sent_piece_by_piece_so_that_it_is_no_stall() -> None:
    holes: list[int] = []

    class Stream(MemorySink):
        def zeros(self, offset: int, length: int) -> None:
            assert offset == sum(holes)
            holes.append(length)

    copied(PatternReader(3 * HOLE + BLOCK, []), Stream(), Control(stall=5), digests=())
    assert holes == [HOLE, HOLE, HOLE, BLOCK]


def test_the_bandwidth_is_kept_and_is_no_stall() -> None:
    start = time.monotonic()
    copied(PatternReader(4 * MIB, [(0, 4 * MIB)]), MemorySink(), Control(bandwidth=3 * MIB, stall=0.5))
    assert 0.8 < time.monotonic() - start < 5
