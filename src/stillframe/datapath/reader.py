"""What a copy reads from: a disk held still, asked for its extents and read ahead."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Protocol

PIECE = 288 << 10  # larger makes a guest's own write wait longer behind one of ours, smaller costs more processor time
WINDOW = 2 * PIECE  # of a disk that nobody writes to; more is hardly faster

Check = Callable[[], None]
"""Called at least every 0.1 s by whatever waits; raises the StillframeError that ends the wait."""


@dataclass(frozen=True, slots=True)
class Extent:
    """A range of the disk, in bytes; one without data reads as zeros."""

    offset: int
    length: int
    data: bool


class Reader(Protocol):
    """A disk that does not change. Used by one thread at a time."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def piece(self) -> int:
        """Bytes of one read that suit it best; it is not asked for more at once."""

    @property
    def window(self) -> int:
        """Bytes that it is asked for ahead, at least one piece."""

    def extents(self, check: Check) -> Iterator[Extent]:
        """The whole disk in ascending order without gaps, fetched as it is asked for; raises ReadFailed."""

    def start(self, offset: int, buffer: memoryview) -> Hashable:
        """Begin to read into the whole buffer; the ticket is for `finish`. Raises ReadFailed.

        The reader keeps the buffer alive until the read has finished or the reader is closed.
        """

    def arriving(self, check: Check) -> None:
        """Wait until bytes of a read in flight come, or one of them has; raises ReadFailed, or what `check` raises.

        A reader that cannot tell when its disk is at rest returns at once.
        """

    def finish(self, ticket: Hashable, check: Check) -> None:
        """Wait until that read has filled its buffer; raises ReadFailed, or what `check` raises."""

    def close(self) -> None:
        """Let go of the disk, whatever is still in flight; never raises, and may be called again."""


def read(reader: Reader, offset: int, length: int, check: Check) -> bytes:
    """These bytes, such as a disk's head for inspection; fewer where the disk ends. Raises ReadFailed."""
    buffer = bytearray(max(0, min(length, reader.size - offset)))
    if buffer:
        reader.finish(reader.start(offset, memoryview(buffer)), check)
    return bytes(buffer)
