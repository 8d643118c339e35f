"""What the journal keeps of a capture, so that it goes on after its agent was killed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from stillframe.capture.held import Hold
from stillframe.capture.leases import Ledger
from stillframe.capture.subject import Subject
from stillframe.messaging.contract import CaptureReport, Order
from stillframe.model import ImageResult, Step, Way


@dataclass(frozen=True, slots=True)
class Kept:
    """What the journal kept of a capture whose agent stopped."""

    order: Order
    attempt: str = ""  # its token
    steps: tuple[Step, ...] = ()
    subject: Subject | None = None
    hold: Hold | None = None  # once the instant was fixed
    way: Way | None = None
    results: tuple[ImageResult, ...] = ()  # once commit was asked for


class Journal(Ledger, Protocol):
    """Where a capture's progress is written down; agent/journal.py has the durable one."""

    def keep(self, kept: Kept) -> None:
        """Replaces what is kept of this capture, durably."""

    def ended(self, report: CaptureReport) -> None:
        """Its end, to be reported until the controller has recorded it."""
