"""What is shown while a capture is waited for: a live bar on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TextIO

from stillframe.cli.record import Record
from stillframe.cli.timeline import how_far, progress_line, step_line
from stillframe.model import CaptureStatus

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

PAUSE = 3.0  # seconds between two plain lines of progress


class Display(Protocol):
    """What waiting tells about."""

    def update(self, record: Record) -> None:
        """Shows the newest record."""

    def note(self, text: str) -> None:
        """Says something that is not in the record."""

    def close(self) -> None:
        """Leaves the terminal as it was."""


def display_for(stream: TextIO) -> Display:
    """The live display if the stream is a terminal that can draw one."""
    return Live(stream) if draws(stream) else Plain(stream)


def draws(stream: TextIO) -> bool:
    """Whether a bar can be drawn there: a dumb terminal would show nothing at all."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


class Plain:
    """One line a finished step, and at most one every few seconds for moving bytes."""

    def __init__(self, stream: TextIO, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._monotonic = monotonic
        self._told = 0  # steps that have their line
        self._next = 0.0  # when the next line of progress may come
        self._last = ""

    def update(self, record: Record) -> None:
        """Prints what is new."""
        for line in _new_steps(record, self._told):
            self.note(line)
            self._told += 1
        line = _state(record)
        if line != self._last and self._monotonic() >= self._next:
            self._next = self._monotonic() + PAUSE
            self._last = line
            self.note(line)

    def note(self, text: str) -> None:
        """One line, at once."""
        print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing to undo."""


class Live:
    """A bar with percent, bytes, rate and time left under the lines of the finished steps."""

    def __init__(self, stream: TextIO) -> None:
        self._bars = _bars(stream)
        self._told = 0
        self._task = self._bars.add_task("waiting", total=None, how="")
        self._bars.start()

    def update(self, record: Record) -> None:
        """Prints the steps that have ended and moves the bar."""
        for line in _new_steps(record, self._told):
            self.note(line)
            self._told += 1
        progress = record.progress
        self._bars.update(
            self._task,
            description=_step_name(record),
            total=progress.total or None,
            completed=progress.done,
            how=how_far(progress) if progress.total else "",
        )

    def note(self, text: str) -> None:
        """One line above the bar."""
        self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Takes the bar away; the lines stay."""
        self._bars.stop()


def _bars(stream: TextIO) -> Bars:
    from rich.console import Console  # noqa: PLC0415  (slow to import)
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn  # noqa: PLC0415

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TextColumn("{task.fields[how]}", markup=False),
        console=Console(file=stream),
        transient=True,
        expand=True,
    )


def _new_steps(record: Record, told: int) -> list[str]:
    """Lines for the steps that have ended since, in order; a running one holds back those after it."""
    lines = []
    for step in record.steps[told:]:
        if step.ended_at is None and not step.failed:
            break
        lines.append(step_line(step))
    return lines


def _step_name(record: Record) -> str:
    if record.running:
        return record.running.name
    return "waiting" if record.status is CaptureStatus.PENDING else record.status.value


def _state(record: Record) -> str:
    """What is being done now, on one line; empty once the capture has ended."""
    if record.status.final:
        return ""
    if record.progress.total:
        return progress_line(_step_name(record), record.progress)
    return f"{_step_name(record)}: running" if record.running else "waiting for the host"
