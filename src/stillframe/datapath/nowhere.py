"""A sink for copies of which only the hash is wanted."""

from __future__ import annotations


class Nowhere:
    """Keeps nothing; see stillframe.datapath.sink.Sink."""

    def write(self, offset: int, data: memoryview) -> None:
        """Keeps nothing."""

    def zeros(self, offset: int, length: int) -> None:
        """Keeps nothing."""

    def finish(self) -> None:
        """Nothing is left to do."""

    def abort(self) -> None:
        """Nothing is held."""
