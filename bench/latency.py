"""What the guest itself feels: how long its own writes take, as its writer tells on the serial console."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.quiet import Share
from lab import blocks
from lab.blocks import Report
from lab.domains import Guest
from lab.wait import until

REPORT_MS = 100
PAUSE_US = 1000  # between two writes, so that the emulated processor of the guest leaves some of ours to the rest
AUTORUN = blocks.autorun(check=False, pause_us=PAUSE_US, report_ms=REPORT_MS)  # the file that starts the writer
BASELINE = 8.0  # seconds: as long as a capture, so that as many writes stand behind both


class Observation:
    """All writes of the guest from the beginning to the end of something."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.disturbed = 0.0  # what part of the processors' time others had meanwhile

    def forget_last(self, seconds: float) -> None:
        """So many seconds at the end did not belong to it."""
        self.reports = self.reports[: len(self.reports) - int(1000 * seconds / REPORT_MS)]

    @property
    def p99_ms(self) -> float:
        """99 of 100 writes took less."""
        return 1000 * blocks.percentile(self.reports, 0.99)

    @property
    def longest_ms(self) -> float:
        """The longest write."""
        return 1000 * max(report.longest for report in self.reports)

    def __str__(self) -> str:
        count = sum(sum(report.histogram.values()) for report in self.reports)
        return f"{count} writes, p99 {self.p99_ms:.1f} ms, longest {self.longest_ms:.0f} ms"


@contextmanager
def observed(guest: Guest) -> Iterator[Observation]:
    """Observes the writes of `guest` during the block; what the writer reports when it begins and ends counts whole."""
    before = len(blocks.reports(guest.serial()))
    observation, share = Observation(), Share()
    yield observation
    observation.disturbed = share.taken()
    ended = len(blocks.reports(guest.serial()))
    until(lambda: len(blocks.reports(guest.serial())) > ended, 30, "the writer's next report")
    observation.reports = blocks.reports(guest.serial())[before : ended + 1]


def at_its_pace(guest: Guest) -> None:
    """Waits until the writer has gone round its file once: until then each of its writes takes new blocks as well."""
    until(lambda: blocks.reports(guest.serial())[-1].last > blocks.SLOTS, 120, "the writer's second round")


def baseline(guest: Guest) -> Observation:
    """The writes of the guest while nothing else happens."""
    with observed(guest) as observation:
        time.sleep(BASELINE)
    return observation
