"""A thread that empties filled chunks into one sink."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from stillframe.datapath.buffers import Pool, Slot
from stillframe.datapath.chunks import Chunk
from stillframe.datapath.flow import Flow
from stillframe.datapath.priority import DRAINING, yield_more
from stillframe.datapath.sink import Sink

HOLE = 64 << 20  # bytes of zeros at once: a stream has to send them, which takes its time and is progress


class Drain:
    """Only its thread ever touches the sink, the end included: a sink that hangs can be left behind safely."""

    def __init__(self, sink: Sink, length: int, pool: Pool, flow: Flow, written: Callable[[int], None]) -> None:
        """`length`: bytes of the whole stream; `written` is called with the bytes of each chunk."""
        self.position = 0
        self._sink = sink
        self._length = length
        self._pool = pool
        self._flow = flow
        self._written = written
        self._inbox: queue.SimpleQueue[tuple[Chunk, Slot] | None] = queue.SimpleQueue()
        # a daemon: a write that never returns must not keep the process from ending
        self._thread = threading.Thread(target=self._run, name=f"drain-{type(sink).__name__}", daemon=True)
        self._thread.start()

    def put(self, chunk: Chunk, slot: Slot) -> None:
        """The next chunk, in its buffer."""
        self._inbox.put((chunk, slot))

    def end(self) -> None:
        """Nothing more comes: finish the sink, or abort it if the flow has failed."""
        self._inbox.put(None)

    def join(self, timeout: float) -> bool:
        """Wait so many seconds; True once the thread has ended."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            yield_more(DRAINING)
            while (filled := self._inbox.get()) is not None:
                self._write(*filled)
            self._flow.moved()
            self._fill_to(self._length)
            self._sink.finish()
        except BaseException as error:  # noqa: BLE001  (it is raised by the thread that called `copy`)
            self._flow.fail(error)
            self._sink.abort()

    def _write(self, chunk: Chunk, slot: Slot) -> None:
        self._flow.moved()
        self._fill_to(chunk.target)
        self._sink.write(chunk.target, slot.memory[: chunk.length])
        self.position += chunk.length
        self._pool.give_back(slot)
        self._written(chunk.length)

    def _fill_to(self, offset: int) -> None:
        while self.position < offset:
            count = min(offset - self.position, HOLE)
            self._sink.zeros(self.position, count)
            self.position += count
            self._flow.moved()
