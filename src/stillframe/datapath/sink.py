"""Where an image's bytes go."""

from __future__ import annotations

from typing import Protocol


class Sink(Protocol):
    """Takes one image from the first byte to the last, in ascending order without gaps, from one thread.

    So a stream can be a sink as well as a file.
    """

    def write(self, offset: int, data: memoryview) -> None:
        """These bytes at this offset; the memory is used again once this returns. Raises WriteFailed, NoSpace."""

    def zeros(self, offset: int, length: int) -> None:
        """So many zeros at this offset; may be many, and a file leaves a hole. Raises WriteFailed, NoSpace."""

    def finish(self) -> None:
        """All has been written: return once it is durable. Raises WriteFailed, NoSpace."""

    def abort(self) -> None:
        """Let go of it unfinished; what was written stays for whoever holds its lease. Never raises."""
