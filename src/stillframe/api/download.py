"""An image's file, or a part of it, as a stream."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from stillframe.errors.request import TooManyDownloads

CHUNK = 256 << 10  # larger ones only wait longer in the server's buffer


class Downloads:
    """Bounds how many files are sent at once, so that slow readers leave threads for everybody else."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._places = threading.BoundedSemaphore(most)

    def open(self, path: Path, first: int, length: int) -> FilePart:
        """The bytes from `first` on; raises TooManyDownloads, OSError. The server closes it."""
        if not self._places.acquire(blocking=False):
            raise TooManyDownloads(limit=self._most)
        try:
            file = path.open("rb", buffering=0)
        except BaseException:
            self._places.release()
            raise
        return FilePart(file, first, length, self._places)


class FilePart:
    """Iterates over the bytes of a part of a file, once."""

    def __init__(self, file: BinaryIO, first: int, length: int, place: threading.BoundedSemaphore) -> None:
        self._file: BinaryIO | None = file
        self._first = first
        self._length = length
        self._place = place

    def __iter__(self) -> Iterator[bytes]:
        file, left = self._file, self._length
        if file is None:
            return
        file.seek(self._first)
        while left > 0 and (data := file.read(min(CHUNK, left))):
            left -= len(data)
            yield data

    def close(self) -> None:
        """Gives the place back; again is fine."""
        file, self._file = self._file, None
        if file is not None:
            file.close()
            self._place.release()
