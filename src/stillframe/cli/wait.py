"""Waiting for the end of a capture."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TextIO

from stillframe.cli.client import Client, Json
from stillframe.cli.display import Display, display_for
from stillframe.cli.exits import Exit, Interrupted
from stillframe.cli.record import record
from stillframe.cli.timeline import failure
from stillframe.errors.base import Reported, StillframeError
from stillframe.errors.client import CaptureStillRunning, ServiceUnreachable
from stillframe.model import CaptureStatus

PATIENCE = 60.0  # seconds that the service may be away meanwhile: it goes on with captures after a restart


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the service is asked, in seconds, and what tells the time."""

    first: float = 0.2
    most: float = 1.0
    patience: float = PATIENCE
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic


def wait(
    client: Client, capture_id: str, timeout: float, stream: TextIO | None = None, pace: Pace | None = None
) -> Json:
    """The capture's final record. `timeout` seconds, 0: as long as it takes; the service bounds every step.

    Raises CaptureStillRunning, Interrupted, and what the service answers; ServiceUnreachable only after `patience`.
    """
    pace = pace or Pace()
    with closing(display_for(stream or sys.stderr)) as display:
        try:
            return _ended(client, capture_id, timeout, display, pace)
        except KeyboardInterrupt as error:
            raise Interrupted(
                f"Capture {capture_id} goes on. `stillframe capture watch {capture_id}` waits again,"
                f" `stillframe capture cancel {capture_id}` ends it."
            ) from error


def _ended(client: Client, capture_id: str, timeout: float, display: Display, pace: Pace) -> Json:
    started = pace.monotonic()
    answered = started
    pause = pace.first
    while True:
        try:
            data = client.capture(capture_id)
            answered = pace.monotonic()
        except StillframeError as error:
            if not _may_pass(error) or pace.monotonic() - answered > pace.patience:
                raise
            display.note(f"{error} Asking again.")
        else:
            now = record(data)
            display.update(now)
            if now.status.final:
                return data
        if timeout and pace.monotonic() - started >= timeout:
            raise CaptureStillRunning(capture=capture_id, seconds=timeout)
        pace.sleep(pause)
        pause = min(pause * 1.1, pace.most)


def _may_pass(error: StillframeError) -> bool:
    """True for what a restart of the service looks like from outside."""
    away = isinstance(error, ServiceUnreachable)
    return away or (isinstance(error, Reported) and error.fault.status in (502, 503, 504))


def outcome(data: Json, stream: TextIO | None = None) -> Exit:
    """Says on stderr how the capture ended, unless it ended well, and gives the exit code."""
    ended = record(data)
    if ended.status is CaptureStatus.COMPLETED:
        return Exit.OK
    stream = stream or sys.stderr
    print(f"Capture {ended.id} of '{ended.name}' {_word(ended.status)}.", file=stream)
    if ended.fault:
        print("\n".join(failure(ended.fault, ended.steps)), file=stream)
    return Exit.FAILED


def _word(status: CaptureStatus) -> str:
    return {CaptureStatus.CANCELLED: "was cancelled", CaptureStatus.FAILED: "failed"}.get(status, status.value)
