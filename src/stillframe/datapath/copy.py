"""One pass: the disk is read once, in order, ahead of the sink; hash and sink have a thread each.

The caller's thread reads. A chunk of the file is filled by reads in flight, then handed to every drain; its buffer is
used again once the last of them is done with it. The first error, wherever it happens, ends all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from stillframe import failpoints
from stillframe.datapath.buffers import Pool, Slot
from stillframe.datapath.chunks import Chunk, chunks
from stillframe.datapath.control import Control
from stillframe.datapath.digest import Digest
from stillframe.datapath.drain import Drain
from stillframe.datapath.flow import SLICE, Flow
from stillframe.datapath.layout import Layout
from stillframe.datapath.priority import READING, yielding
from stillframe.datapath.reader import Reader
from stillframe.datapath.sink import Sink

MEMORY = 16 << 20  # bytes of buffers, or of so many chunks where those are large
FEWEST = 8
GRACE = 2.0  # seconds that a sink has to return from its write after a failure


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy made."""

    length: int  # of the image's file
    data_bytes: int  # read from the disk
    digests: Mapping[str, str]  # algorithm -> hash of the file, holes included


def copy(reader: Reader, layout: Layout, sink: Sink, control: Control, *, digests: Collection[str]) -> Copied:
    """Write the image to the sink and finish it; on any failure abort it. The reader stays the caller's to close.

    `digests`: the hashes to take on the way, as hashlib names them, each in a thread of its own.
    `control.meter` counts what is written, in the end `layout.length - layout.hole_bytes`; the caller announces it.
    Raises what reader or sink raise, what the control was cancelled with, or DeadlineExceeded when nothing moves.
    """
    with yielding(READING):  # threads that are made in here do as well
        return _copy(reader, layout, sink, control, digests)


def _copy(reader: Reader, layout: Layout, sink: Sink, control: Control, digests: Collection[str]) -> Copied:
    flow = Flow(control)
    chunk = max(reader.piece, sink.piece)
    pool = Pool(max(MEMORY // chunk, FEWEST), chunk)
    hashing = {algorithm: Digest(flow.moved, algorithm) for algorithm in digests}
    drains = [Drain(sink, layout.length, pool, flow, control.meter.add)]
    drains += [Drain(each, layout.length, pool, flow, _uncounted) for each in hashing.values()]
    feed = _Feed(reader, layout, pool, flow, chunk)
    try:
        for filled, slot in feed.chunks(len(drains)):
            failpoints.reached("bytes.read")
            for drain in drains:
                drain.put(filled, slot)
        _end(drains, flow)
        failpoints.reached("bytes.written")
    except BaseException as error:  # noqa: BLE001  (raised below, unless a drain failed first)
        flow.fail(error)
        _stop(drains)
    if flow.error is not None:
        raise flow.error
    return Copied(layout.length, feed.data_bytes, {name: each.hexdigest() for name, each in hashing.items()})


@dataclass(frozen=True, slots=True)
class _Read:
    """One that is in flight."""

    ticket: Hashable
    source: int
    length: int


@dataclass(frozen=True, slots=True)
class _Filling:
    """A chunk that is being read."""

    chunk: Chunk
    slot: Slot
    reads: deque[_Read] = field(default_factory=deque)


class _Feed:
    """Reads ahead, as much as suits the reader."""

    def __init__(self, reader: Reader, layout: Layout, pool: Pool, flow: Flow, chunk: int) -> None:
        self.data_bytes = 0
        self._chunk = chunk
        self._in_flight = 0  # bytes
        self._reader = reader
        self._layout = layout
        self._pool = pool
        self._flow = flow
        self._control = flow.control

    def chunks(self, drains: int) -> Iterator[tuple[Chunk, Slot]]:
        """Each chunk of the file in order, filled, for so many drains.

        It is handed over while bytes of the next one arrive: then the disk is at rest, also for who writes to it.
        """
        ahead: deque[_Filling] = deque()
        for chunk in chunks(self._layout.pieces(), self._chunk):
            while ahead and self._control.throttle.wait() > 0:  # what was read is not kept waiting with the next
                yield self._filled(ahead.popleft())
            self._throttle(chunk)
            slot = self._pool.take(0)
            while slot is None and ahead:
                yield self._filled(ahead.popleft())
                slot = self._pool.take(0)
            filling = _Filling(chunk, slot or self._free_slot(chunk.target))
            filling.slot.readers = drains
            ahead.append(filling)
            for source, memory in self._wanted(filling):
                self._make_room(ahead, memory)
                filling.reads.append(self._start(source, memory))
                if not ahead[0].reads:
                    self._reader.arriving(partial(self._flow.check, "Reading the held disk", source))
                while not ahead[0].reads:
                    yield self._filled(ahead.popleft())
        while ahead:
            yield self._filled(ahead.popleft())

    def _wanted(self, filling: _Filling) -> Iterator[tuple[int, memoryview]]:
        """Where from and where to, in reads of a size that suits the reader."""
        memory, piece = filling.slot.memory, self._reader.piece
        for at, data in filling.chunk.metadata:
            memory[at : at + len(data)] = data
        for source, at, length in filling.chunk.reads:
            for done in range(0, length, piece):
                yield source + done, memory[at + done : at + min(done + piece, length)]

    def _make_room(self, ahead: Iterable[_Filling], memory: memoryview) -> None:
        """Finish the oldest reads until one more suits the reader."""
        for filling in ahead:
            while filling.reads and self._in_flight + len(memory) > self._reader.window:
                self._finish(filling.reads.popleft())

    def _start(self, source: int, memory: memoryview) -> _Read:
        self._in_flight += len(memory)
        return _Read(self._reader.start(source, memory), source, len(memory))

    def _finish(self, read: _Read) -> None:
        self._reader.finish(read.ticket, partial(self._flow.check, "Reading the held disk", read.source))
        self._in_flight -= read.length
        self.data_bytes += read.length
        self._flow.moved()

    def _filled(self, filling: _Filling) -> tuple[Chunk, Slot]:
        for read in filling.reads:
            self._finish(read)
        return filling.chunk, filling.slot

    def _free_slot(self, offset: int) -> Slot:
        while (slot := self._pool.take(SLICE)) is None:
            self._flow.check("Writing the image", offset)
        return slot

    def _throttle(self, chunk: Chunk) -> None:
        while (seconds := self._control.throttle.wait()) > 0:
            self._control.sleep(min(seconds, SLICE))
            self._flow.moved()
        self._control.throttle.take(sum(length for _, _, length in chunk.reads))


def _end(drains: list[Drain], flow: Flow) -> None:
    """Wait until all has been written and is durable."""
    for drain in drains:
        drain.end()
    for drain in drains:
        while not drain.join(SLICE):
            flow.check("Finishing the image", drain.position)


def _stop(drains: list[Drain]) -> None:
    """After a failure: a drain whose sink hangs is left behind, and aborts the sink when it returns."""
    for drain in drains:
        drain.end()
    for drain in drains:
        drain.join(GRACE)


def _uncounted(_: int) -> None:
    """The meter counts the sink's bytes only."""
