"""The hash of an image, as a sink beside the one that stores it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from stillframe.datapath.reader import PIECE

ZEROS: Final = memoryview(bytes(1 << 20))


class Digest:
    """The hash of the whole stream, holes included, by any algorithm that hashlib has."""

    piece = PIECE

    def __init__(self, progress: Callable[[], None], algorithm: str = "sha256") -> None:
        """`progress` is called after every MiB of zeros: it may raise to end a hole of terabytes."""
        self._hash = hashlib.new(algorithm, usedforsecurity=False)
        self._progress = progress

    def write(self, offset: int, data: memoryview) -> None:  # noqa: ARG002  (a stream: its offsets have no gaps)
        self._hash.update(data)

    def zeros(self, offset: int, length: int) -> None:  # noqa: ARG002
        while length:
            count = min(length, len(ZEROS))
            self._hash.update(ZEROS[:count])
            self._progress()
            length -= count

    def finish(self) -> None:
        """Nothing is left to do."""

    def abort(self) -> None:
        """Nothing is held."""

    def hexdigest(self) -> str:
        """Of all that was written."""
        return self._hash.hexdigest()
