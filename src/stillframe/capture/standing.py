"""Where a capture stands: changed by its thread, read by all others, and ended once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from stillframe.capture import hangs
from stillframe.capture.kept import Journal, Kept
from stillframe.capture.timeline import Timeline
from stillframe.datapath.control import Control
from stillframe.errors.base import Reported
from stillframe.messaging.contract import CaptureReport
from stillframe.model import Fault, ImageResult, Phase

Outcome = tuple[tuple[ImageResult, ...], Fault | None]  # its images, or why there are none


class Standing:
    """What reports tell and the journal keeps; its end stays what it was when it was first decided."""

    def __init__(
        self,
        kept: Kept,
        end: CaptureReport | None,
        *,
        control: Control,
        journal: Journal,
        changed: Callable[[], None],
    ) -> None:
        """`end`: it ended in an earlier run of the agent. `changed` is called when a report would differ."""
        self.control = control
        self.timeline = Timeline(kept.steps, self._moved)
        self.attempt = kept.attempt  # its token
        self._kept = kept
        self._journal = journal
        self._changed = changed
        self._lock = threading.Lock()
        self._phase = Phase.HELD if kept.hold else Phase.WAITING
        self._outcome: Outcome | None = None
        self._end = end
        self._given_up = False  # and its thread has not come back yet

    @property
    def kept(self) -> Kept:
        """What the journal has of it."""
        return self._kept

    @property
    def ended(self) -> bool:
        """Whether its end is decided; what it holds may still be given back."""
        return self._end is not None

    @property
    def given_up(self) -> bool:
        """Whether it has ended while its thread hangs still."""
        return self._given_up

    def report(self) -> CaptureReport:
        """All that is known of it now."""
        with self._lock:
            return self._end or self._report()

    def _report(self) -> CaptureReport:
        """With the lock held."""
        kept = self._kept
        return CaptureReport(
            capture_id=kept.order.capture_id,
            attempt=self.attempt,
            phase=self._phase,
            steps=self.timeline.steps(),
            progress=self.control.meter.progress(),
            way=kept.way,
            instant=kept.hold.instant if kept.hold else None,
        )

    # --------------------------------------------------------------------------------------- its thread gets on

    def enter(self, phase: Phase) -> None:
        """The next phase begins."""
        with self._lock:
            self._phase = phase
        self._moved()

    def keep(self, kept: Kept) -> None:
        """So far it is now, durably, in this attempt and with the steps up to here."""
        kept = replace(kept, attempt=self.attempt, steps=self.timeline.steps())
        self._journal.keep(kept)
        with self._lock:
            self._kept = kept

    def _moved(self) -> None:
        self.control.alive()
        self._changed()

    # ------------------------------------------------------------------------------------------------- its end

    def expect_in_hand(self) -> None:
        """Raises what it was given up for."""
        with self._lock:
            self._expect_in_hand()

    def published(self, images: tuple[ImageResult, ...]) -> None:
        """It has ended well, whatever follows; raises what it was given up for before."""
        with self._lock:
            self._expect_in_hand()
            self._outcome = (images, None)

    def _expect_in_hand(self) -> None:
        """With the lock held."""
        if self._end and self._end.fault:
            raise Reported(self._end.fault)

    def give_up(self, seconds: float, held: tuple[str, ...]) -> tuple[CaptureReport, Fault] | None:
        """Ends it after so many seconds without a sign of life; its end and why. None: it had ended before.

        `held` is what it holds, in words: nobody knows when that is given back.
        """
        with self._lock:
            if self._end:
                return None
            why = hangs.fault(self._phase, self.timeline.steps(), seconds)
            images, fault = self._outcome or ((), why)
            left = tuple(f"{each}: {why.message}" for each in held)
            told = replace(self._report(), phase=Phase.ENDED, steps=self.timeline.cut_off(why.message))
            self._end = end = replace(told, images=images, fault=fault, held=left)
            self._given_up = True
        self._changed()
        return end, why

    def decide(self, outcome: Outcome) -> None:
        """What its thread has come to, while it still gives back; what was decided before stays."""
        with self._lock:
            self._outcome = self._outcome or outcome

    def end(self, held: tuple[str, ...]) -> CaptureReport:
        """Its thread gave back what it could and still holds this."""
        with self._lock:
            assert self._outcome is not None  # noqa: S101 - it was decided
            images, fault = self._outcome
            self._phase = Phase.ENDED
            ended = self._end or replace(self._report(), images=images, fault=fault)
            self._end = end = replace(ended, held=held)
            self._given_up = False
        return end

    def still_holds(self, held: tuple[str, ...]) -> None:
        """It has ended, and this is not given back yet."""
        with self._lock:
            assert self._end is not None  # noqa: S101 - only what has ended gives back late
            self._end = replace(self._end, held=held)
        self._changed()
