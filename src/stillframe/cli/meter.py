"""The progress of a download: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TextIO

from stillframe.cli.display import PAUSE, draws
from stillframe.cli.timeline import progress_line
from stillframe.model import Progress


class Meter(Protocol):
    """Takes note of bytes that have arrived."""

    def advance(self, count: int) -> None:
        """So many more."""

    def close(self) -> None:
        """Leaves the terminal as it was."""


def meter_for(stream: TextIO, total: int | None) -> Meter:
    """The bar if the stream is a terminal that can draw one."""
    return BarMeter(stream, total) if draws(stream) else LineMeter(stream, total)


class LineMeter:
    """At most one line every few seconds."""

    def __init__(self, stream: TextIO, total: int | None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._total = total or 0
        self._monotonic = monotonic
        self._started = monotonic()
        self._next = self._started + PAUSE
        self._done = 0

    def advance(self, count: int) -> None:
        """Prints a line when it is time for one."""
        self._done += count
        now = self._monotonic()
        if now >= self._next:
            self._next = now + PAUSE
            progress = Progress(self._done, self._total, self._done / (now - self._started))
            print(progress_line("save", progress), file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing to undo."""


class BarMeter:
    """rich's bar with bytes, rate and time left."""

    def __init__(self, stream: TextIO, total: int | None) -> None:
        from rich import progress as bars  # noqa: PLC0415  (slow to import)
        from rich.console import Console  # noqa: PLC0415

        self._bars = bars.Progress(
            bars.BarColumn(bar_width=None),
            bars.TaskProgressColumn(),
            bars.DownloadColumn(binary_units=True),
            bars.TransferSpeedColumn(),
            bars.TimeRemainingColumn(),
            console=Console(file=stream),
            transient=True,
            expand=True,
        )
        self._task = self._bars.add_task("save", total=total)
        self._bars.start()

    def advance(self, count: int) -> None:
        """Moves the bar."""
        self._bars.advance(self._task, count)

    def close(self) -> None:
        """Takes the bar away."""
        self._bars.stop()
