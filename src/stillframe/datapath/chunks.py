"""An image file cut into chunks of the size of a buffer, and the runs that it has bytes in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from stillframe.datapath.layout import Data, Piece


@dataclass(slots=True)
class Chunk:
    """A contiguous range of the file, put together from any number of ranges of the disk."""

    target: int
    length: int = 0
    reads: list[tuple[int, int, int]] = field(default_factory=list)  # offset in the disk, offset in the chunk, length
    metadata: list[tuple[int, bytes]] = field(default_factory=list)  # offset in the chunk, bytes

    def take(self, piece: Piece, skip: int, count: int) -> None:
        """Append `count` bytes of the piece, after its first `skip`."""
        if isinstance(piece, Data):
            self.reads.append((piece.source + skip, self.length, count))
        else:
            self.metadata.append((self.length, piece.data[skip : skip + count]))
        self.length += count


@dataclass(frozen=True, slots=True)
class Run:
    """A contiguous range of the file that has bytes."""

    target: int
    length: int


def runs(pieces: Iterable[Piece], least: int, most: int) -> Iterator[Run]:
    """Where the file has so many bytes on end, ascending, in runs of `most` bytes; shorter ones are left out."""
    start = end = 0
    for piece in pieces:
        if piece.target != end:
            if end - start >= least:
                yield Run(start, end - start)
            start = piece.target
        end = piece.target + piece.length
        while end - start >= most:  # one piece may be the whole disk
            yield Run(start, most)
            start += most
    if end - start >= least:
        yield Run(start, end - start)


def chunks(pieces: Iterable[Piece], size: int) -> Iterator[Chunk]:
    """All pieces in chunks that never cross a multiple of `size` in the file: large, aligned writes even of scraps."""
    chunk: Chunk | None = None
    for piece in pieces:
        skip = 0
        while skip < piece.length:
            target = piece.target + skip
            if chunk is None or chunk.target + chunk.length != target or target % size == 0:
                if chunk is not None:
                    yield chunk
                chunk = Chunk(target)
            count = min(piece.length - skip, size - target % size)
            chunk.take(piece, skip, count)
            skip += count
    if chunk is not None:
        yield chunk
