"""Reading a snapshot on RBD with many requests in flight; see stillframe.datapath.reader.Reader."""

from __future__ import annotations

import itertools
import queue
from collections.abc import Hashable, Iterator
from types import TracebackType
from typing import Final

import rbd

from stillframe import heap
from stillframe.datapath.reader import Check, Extent
from stillframe.disks.rbd import extents
from stillframe.disks.rbd.cluster import Cluster
from stillframe.disks.rbd.names import RbdImage
from stillframe.disks.rbd.opening import Opening
from stillframe.disks.rbd.task import READ, Task
from stillframe.errors.capture import ReadFailed

AHEAD = 4  # objects being read: more is hardly faster
SLICE = 0.1  # seconds between two checks of whoever waits


class RbdReader:
    """A snapshot, opened read-only. Reads are bounded by the caller's check alone, as those from an NBD server are."""

    piece, window = extents.OBJECT, AHEAD * extents.OBJECT

    def __init__(self, cluster: Cluster, image: RbdImage, snap: str, *, timeout: float = 10.0) -> None:
        """Open it within so many seconds; raises RbdMissing, CephForbidden, CephUnreachable, DeadlineExceeded."""
        heap.keep()
        self._where: Final = f"{image}@{snap}"
        self._opening = Opening(
            Task(cluster, "read a snapshot", image, snap, caps=READ), timeout=timeout, at=snap, read_only=True
        )
        self._image: rbd.Image = self._opening.image
        self._numbers = itertools.count()
        self._flying: dict[int, tuple[int, memoryview]] = {}
        self._answers: queue.SimpleQueue[tuple[int, bytes | None, int]] = queue.SimpleQueue()
        self._size: Final[int] = self._opening.size

    def __enter__(self) -> RbdReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def size(self) -> int:
        """Bytes of the snapshot."""
        return self._size

    def extents(self, check: Check) -> Iterator[Extent]:
        """Whole objects, in the snapshot or its parents."""
        asked = self._opening.begin(lambda opened: extents.data(opened, parents=True))
        while True:
            try:
                ranges = asked.result(SLICE)
            except TimeoutError:
                check()
            except rbd.Error as error:
                raise self._failed(0, str(error)) from error
            else:
                return extents.whole(self._size, ranges)

    def start(self, offset: int, buffer: memoryview) -> Hashable:
        number = next(self._numbers)

        # In a thread of librbd's: it only hands over, so that what is left in flight touches nobody's memory.
        def arrived(completion: rbd.Completion, data: bytes | None) -> None:
            self._answers.put((number, data, completion.get_return_value()))

        try:
            self._image.aio_read(offset, len(buffer), arrived)
        except rbd.Error as error:
            raise self._failed(offset, str(error)) from error
        self._flying[number] = (offset, buffer)
        return number

    def arriving(self, check: Check) -> None:
        """A read of an object comes whole, from disks of many."""

    def finish(self, ticket: Hashable, check: Check) -> None:
        while ticket in self._flying:
            try:
                number, data, code = self._answers.get(timeout=SLICE)
            except queue.Empty:
                check()
                continue
            offset, buffer = self._flying.pop(number)
            if data is None or len(data) != len(buffer):
                raise self._failed(offset, f"librbd answered {code}")
            buffer[:] = data

    def close(self) -> None:
        """What is still in flight is left to a thread in the background."""
        self._flying.clear()
        self._opening.close()

    def _failed(self, offset: int, words: str) -> ReadFailed:
        return ReadFailed(offset=offset, operator=f"{self._where}: {words}")
