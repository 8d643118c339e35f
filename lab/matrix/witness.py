"""What a guest's writer says, with the host's time at which it was heard."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import datetime

from lab import blocks
from lab.domains import Guest
from lab.wait import until

LOOK = 0.05  # seconds between looks at the serial console
SLACK = 1.5  # seconds that a report may be on its way on a busy machine


@dataclass(frozen=True, slots=True)
class Heard:
    """A report, and when it was heard (seconds of the host's wall clock)."""

    at: float
    report: blocks.Report


class Witness:
    """Follows one guest's serial console from now on, until it is closed."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._offset = guest.serial_log.stat().st_size
        self._rest = ""
        self._heard: list[Heard] = []
        self._complaints: list[str] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"witness-{guest.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Listens no more."""
        self._done.set()
        self._thread.join()

    def complaints(self) -> list[str]:
        """Lost writes and write errors that the guest has noticed itself."""
        return list(self._complaints)

    def writes_on(self, deadline: float) -> int:
        """Waits for the next report; the newest block then."""
        count = len(self._heard)
        until(lambda: len(self._heard) > count, deadline, f"{self._guest.name} to write on")
        return self._heard[-1].report.last

    def longest(self, since: float) -> float:
        """Seconds that the longest write took that was reported since this time of the wall clock."""
        return max((heard.report.longest for heard in self._heard if heard.at >= since), default=0.0)

    def bounds(self, moment: datetime) -> tuple[int, int]:
        """The newest block at a moment was not older than the first and not newer than the second of these.

        Waits until something was heard that was surely said after it.
        """
        at = moment.timestamp()
        until(lambda: self._heard and self._heard[-1].at > at + SLACK, 30, f"{self._guest.name} to write on")
        heard = list(self._heard)
        earlier = [each.report.last for each in heard if each.at < at - SLACK]
        return max(earlier, default=0), next(each.report.last for each in heard if each.at > at + SLACK)

    def _follow(self) -> None:
        while not self._done.wait(LOOK):
            with self._guest.serial_log.open(errors="replace") as log:
                log.seek(self._offset)
                said = log.read()
                self._offset = log.tell()
            whole, newline, self._rest = (self._rest + said).replace("\r\n", "\n").rpartition("\n")
            self._complaints += blocks.complaints(whole)
            self._heard += [Heard(time.time(), report) for report in blocks.reports(whole + newline)]
