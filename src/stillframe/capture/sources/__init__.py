"""What holds disks still at the instant: one module a source."""

from __future__ import annotations

from typing import Protocol

from stillframe.capture.held import Hold
from stillframe.capture.subject import Subject
from stillframe.capture.tools import Tools
from stillframe.capture.work import Work


class Source(Protocol):
    """How disks are held still."""

    @property
    def name(self) -> str:
        """As it is called on the timeline."""

    @property
    def cheap(self) -> bool:
        """True when holding costs the guest nothing, so that it need not wait for its turn to transfer."""

    def obstacle(self, subject: Subject, tools: Tools) -> str | None:
        """Why it cannot hold this subject, in words; None when it can. Raises what kept it from finding out."""

    def hold(self, work: Work) -> Hold:
        """Fixes the instant; every lease is taken before what it stands for. Raises StillframeError."""

    def check(self, work: Work, hold: Hold) -> None:
        """Raises StillframeError when the held state is lost or in danger; cheap, called several times a second."""

    def resume(self, work: Work, hold: Hold) -> Hold:
        """After a restart: the same instant, ready to be read again; raises InstantLost when it is gone."""
