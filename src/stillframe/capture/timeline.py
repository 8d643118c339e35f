"""The steps of a capture, as they happen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from stillframe import failpoints
from stillframe.errors.base import fault_of
from stillframe.model import Step, now


class OpenStep:
    """A step under way: add to its message, set its bytes."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.operator: list[str] = []
        self.bytes: int | None = None

    def note(self, words: str) -> None:
        """Words for the reader of the timeline; several are joined."""
        self.notes.append(words)

    def tell_operator(self, words: str) -> None:
        """What names paths, hosts or pools: administrators read it."""
        self.operator.append(words)


class Timeline:
    """The list of steps; may be read from any thread while the capture writes it."""

    def __init__(self, steps: tuple[Step, ...] = (), changed: Callable[[], None] = lambda: None) -> None:
        # A step that a killed agent left open has no known end: it is closed as failed, where it began.
        self._steps = [
            step if step.ended_at else replace(step, ended_at=step.started_at, failed=True, message="interrupted")
            for step in steps
        ]
        self._changed = changed
        self._lock = threading.Lock()

    def steps(self) -> tuple[Step, ...]:
        """All steps so far, in order of their start."""
        with self._lock:
            return tuple(self._steps)

    def cut_off(self, message: str) -> tuple[Step, ...]:
        """All steps, the open ones as if they had failed now with this message; here they go on."""
        moment = now()
        return tuple(
            step if step.ended_at else replace(step, ended_at=moment, failed=True, message=message)
            for step in self.steps()
        )

    @contextmanager
    def step(self, name: str) -> Iterator[OpenStep]:
        """A step from here to the end of the block; an exception marks it as failed, with its words."""
        with self._lock:
            position = len(self._steps)
            self._steps.append(Step(name, now()))
        self._changed()
        opened, kind = OpenStep(), name.partition(" ")[0]
        try:
            failpoints.reached(f"step.{kind}.entered")
            yield opened
        except BaseException as error:
            fault = fault_of(error)
            opened.note(fault.message)
            if fault.operator:
                opened.tell_operator(fault.operator)
            self._close(position, opened, failed=True)
            raise
        self._close(position, opened, failed=False)
        failpoints.reached(f"step.{kind}.left")

    def event(self, name: str, message: str, operator: str = "") -> None:
        """Something that took no time worth measuring."""
        moment = now()
        with self._lock:
            self._steps.append(Step(name, moment, moment, message, operator=operator))
        self._changed()

    def _close(self, position: int, opened: OpenStep, failed: bool) -> None:
        with self._lock:
            self._steps[position] = replace(
                self._steps[position],
                ended_at=now(),
                message="; ".join(opened.notes),
                operator="; ".join(opened.operator),
                bytes=opened.bytes,
                failed=failed,
            )
        self._changed()
