"""A capture's timeline and its failure as lines of text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from stillframe.cli.record import Step
from stillframe.cli.text import clock, human_bytes, human_seconds
from stillframe.model import Fault, Progress

LAST_STEPS = 6  # of a failed capture's timeline: enough to see what led to it


def timeline(steps: Sequence[Step], width: int | None = None) -> list[str]:
    """One line a step: begin, name, duration, bytes, message; long messages wrapped to `width` columns."""
    longest = max((len(step.name) for step in steps), default=0)
    lines: list[str] = []
    for step in steps:
        lines += _step_lines(step, longest, width)
    return lines


def step_line(step: Step) -> str:
    """A step on one line, for logs: name, duration, bytes, message."""
    parts = [_duration(step), human_bytes(step.bytes) if step.bytes else "", _words(step)]
    said = ", ".join(part for part in parts if part)
    return f"{step.name}: {'FAILED, ' if step.failed else ''}{said or 'running'}"


def progress_line(step: str, progress: Progress) -> str:
    """How far the bytes are on one line."""
    share = f"{progress.done / progress.total:.0%}, " if progress.total else ""
    return f"{step}: {share}{how_far(progress)}"


def how_far(progress: Progress) -> str:
    """Bytes, rate and time left, as far as they are known."""
    if not progress.total:
        return human_bytes(progress.done)
    text = f"{human_bytes(progress.done)} of {human_bytes(progress.total)}"
    left = progress.seconds_left
    if left is None or left <= 0:
        return text
    return f"{text}, {human_bytes(progress.rate)}/s, {human_seconds(left)} left"


def failure(fault: Fault, steps: Sequence[Step], width: int | None = None) -> list[str]:
    """Cause, hint and the last steps."""
    lines = [f"Cause: {fault.message} [{fault.code}]"]
    if fault.operator:
        lines.append(f"Operator: {fault.operator}")
    if fault.hint:
        lines.append(f"Hint: {fault.hint}")
    if steps:
        lines.append("Last steps:")
        lines += timeline(steps[-LAST_STEPS:], width)
    return lines


def _step_lines(step: Step, longest: int, width: int | None) -> list[str]:
    size = human_bytes(step.bytes) if step.bytes else ""
    head = f"  {clock(step.started_at)}  {step.name:<{longest}}  {_duration(step) or 'running':>11}  {size:>9}  "
    message = f"FAILED: {_words(step)}".rstrip(": ") if step.failed else _words(step)
    room = width - len(head) if width else 0
    parts = textwrap.wrap(message, room) if room >= 20 else [message]
    rest = [" " * len(head) + part for part in parts[1:]]
    return [(head + "".join(parts[:1])).rstrip(), *rest]


def _words(step: Step) -> str:
    return f"{step.message} ({step.operator})".lstrip() if step.operator else step.message


def _duration(step: Step) -> str:
    return "" if step.seconds is None else human_seconds(step.seconds)
