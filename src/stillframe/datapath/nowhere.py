"""A sink for copies of which only the hash is wanted."""

from __future__ import annotations

from stillframe.datapath.reader import PIECE


class Nowhere:
    """Keeps nothing; see stillframe.datapath.sink.Sink."""

    piece = PIECE

    def write(self, offset: int, data: memoryview) -> None:
        """Keeps nothing."""

    def zeros(self, offset: int, length: int) -> None:
        """Keeps nothing."""

    def finish(self) -> None:
        """Nothing is left to do."""

    def abort(self) -> None:
        """Nothing is held."""
