"""How held disks become images: one module a transfer."""

from __future__ import annotations

from typing import Protocol

from stillframe.capture.held import Hold
from stillframe.capture.subject import Subject
from stillframe.capture.tools import Tools
from stillframe.capture.work import Work
from stillframe.model import ImageResult


class Transfer(Protocol):
    """How held disks become images."""

    @property
    def name(self) -> str:
        """As it is called on the timeline."""

    def obstacle(self, subject: Subject, source: str, tools: Tools) -> str | None:
        """Why it cannot take this subject from this source, in words; None when it can. Raises as a source's."""

    def run(self, work: Work, hold: Hold) -> tuple[ImageResult, ...]:
        """Writes the images whole and durable, but not visible. Raises WayClosed when another transfer may do."""
