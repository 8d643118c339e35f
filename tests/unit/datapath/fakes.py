"""Disks and sinks that exist in memory, and can be made to fail or to hang."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Hashable, Iterator
from pathlib import Path

from stillframe.datapath.reader import PIECE, WINDOW, Check, Extent
from stillframe.errors.capture import ReadFailed, WriteFailed

BLOCK = 512


class PatternReader:
    """Each block of the given ranges holds its own number, over and over; all else is zeros."""

    piece, window = PIECE, WINDOW

    def __init__(
        self, size: int, ranges: list[tuple[int, int]], *, fail_at: int | None = None, hang_at: int | None = None
    ) -> None:
        self.size = size
        self.ranges = _united(size, ranges)
        self.in_flight: dict[int, tuple[int, memoryview]] = {}
        self.most_bytes_in_flight = self.bytes_asked = 0
        self.hanging = threading.Event()
        self._fail_at = fail_at
        self._hang_at = hang_at
        self._tickets = 0

    def extents(self, check: Check) -> Iterator[Extent]:
        position = 0
        for first, end in self.ranges:
            if first > position:
                yield Extent(position, first - position, data=False)
            check()
            yield Extent(first, end - first, data=True)
            position = end
        if position < self.size:
            yield Extent(position, self.size - position, data=False)

    def start(self, offset: int, buffer: memoryview) -> Hashable:
        assert 0 <= offset < offset + len(buffer) <= self.size
        self._tickets += 1
        self.bytes_asked += len(buffer)
        self.in_flight[self._tickets] = (offset, buffer)
        flying = sum(len(memory) for _, memory in self.in_flight.values())
        self.most_bytes_in_flight = max(self.most_bytes_in_flight, flying)
        return self._tickets

    def arriving(self, check: Check) -> None:
        check()

    def finish(self, ticket: Hashable, check: Check) -> None:
        assert isinstance(ticket, int)
        offset, buffer = self.in_flight.pop(ticket)
        end = offset + len(buffer)
        if self._fail_at is not None and offset <= self._fail_at < end:
            raise ReadFailed(offset=offset)
        while self._hang_at is not None and offset <= self._hang_at < end:
            self.hanging.set()
            check()
            time.sleep(0.01)
        buffer[:] = self.content(offset, len(buffer))

    def close(self) -> None:
        self.in_flight.clear()

    def content(self, offset: int, length: int) -> bytes:
        """What a read gives."""
        data = bytearray(length)
        for first, end in self.ranges:
            low, high = max(first, offset), min(end, offset + length)
            if low < high:
                data[low - offset : high - offset] = _pattern(low, high)
        return bytes(data)

    def save(self, path: Path) -> None:
        """A sparse raw file with the same content."""
        with path.open("wb") as file:
            file.truncate(self.size)
            for first, end in self.ranges:
                os.pwrite(file.fileno(), _pattern(first, end), first)


class MemorySink:
    """Keeps the stream; checks that it ascends without gaps and comes from one thread."""

    piece = PIECE

    def __init__(self, *, fail_at: int | None = None, hang_at: int | None = None, hang_at_end: bool = False) -> None:
        self.stream = bytearray()
        self.writes: list[tuple[int, int]] = []
        self.finished = False
        self.aborted = threading.Event()
        self.hanging = threading.Event()
        self.release = threading.Event()
        self._fail_at = fail_at
        self._hang_at = hang_at
        self._hang_at_end = hang_at_end
        self._threads: set[int] = set()

    def write(self, offset: int, data: memoryview) -> None:
        if self._hang_at is not None and offset <= self._hang_at < offset + len(data):
            self._hang()
        if self._fail_at is not None and offset <= self._fail_at < offset + len(data):
            raise WriteFailed(offset=offset, reason="it was told to")
        self._append(offset, bytes(data))
        self.writes.append((offset, len(data)))

    def zeros(self, offset: int, length: int) -> None:
        self._append(offset, bytes(length))

    def finish(self) -> None:
        if self._hang_at_end:
            self._hang()
        self.finished = True

    def abort(self) -> None:
        self.aborted.set()

    def _append(self, offset: int, data: bytes) -> None:
        self._threads.add(threading.get_ident())
        assert offset == len(self.stream)
        assert len(self._threads) == 1
        self.stream += data

    def _hang(self) -> None:
        self.hanging.set()
        assert self.release.wait(30)


def nothing() -> None:
    """A check that never ends anything."""


def _pattern(first: int, end: int) -> bytes:
    low = first // BLOCK
    blocks = (number.to_bytes(8, "little") * (BLOCK // 8) for number in range(low + 1, -(-end // BLOCK) + 1))
    return b"".join(blocks)[first - low * BLOCK :][: end - first]


def _united(size: int, ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same ranges as ascending (first, end), overlapping and touching ones made one."""
    united: list[tuple[int, int]] = []
    for offset, length in sorted(ranges):
        first, end = min(offset, size), min(offset + length, size)
        if first == end:
            continue
        if united and first <= united[-1][1]:
            united[-1] = (united[-1][0], max(end, united[-1][1]))
        else:
            united.append((first, end))
    return united
