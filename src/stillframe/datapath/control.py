"""The strings by which a running copy is held: cancel, progress, bandwidth, and the deadline for a stall."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from stillframe.errors.base import StillframeError
from stillframe.errors.capture import DeadlineExceeded
from stillframe.model import Progress

WINDOW = 5.0  # seconds that the rate looks back: long enough to be steady, short enough to show a stall
SAMPLE = 0.25  # seconds between two samples of it
BURST = 0.25  # seconds' worth of bytes that may pass at once

Clock = Callable[[], float]


class Meter:
    """Counts bytes of one or several copies; any thread may add and read."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._done = 0
        self._total = 0
        self._samples: deque[tuple[float, int]] = deque()

    def expect(self, count: int) -> None:
        """So many more bytes are to be moved."""
        with self._lock:
            self._total += count

    def add(self, count: int) -> None:
        """So many more bytes have been moved."""
        with self._lock:
            now = self._clock()
            if not self._samples or now - self._samples[-1][0] >= SAMPLE:
                self._samples.append((now, self._done))
            self._done += count
            self._forget(now)

    def progress(self) -> Progress:
        """Where it stands, with the rate of the last few seconds."""
        with self._lock:
            now = self._clock()
            self._forget(now)
            rate = 0.0
            if self._samples and now > self._samples[0][0]:
                since, before = self._samples[0]
                rate = (self._done - before) / (now - since)
            return Progress(done=self._done, total=self._total, rate=rate)

    def _forget(self, now: float) -> None:
        # the newest of the old samples stays: the rate then decays instead of jumping
        while len(self._samples) > 1 and now - self._samples[1][0] > WINDOW:
            self._samples.popleft()


class Throttle:
    """A token bucket; the rate may change while it is in use."""

    def __init__(self, rate: int = 0, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rate = rate
        self._tokens = 0.0
        self._filled = clock()

    @property
    def rate(self) -> int:
        """Bytes a second; 0: no limit."""
        return self._rate

    @rate.setter
    def rate(self, rate: int) -> None:
        with self._lock:
            self._fill()
            self._rate = rate

    def take(self, count: int) -> None:
        """So many bytes pass now; they may overdraw the bucket, and the next ones wait for it."""
        with self._lock:
            self._fill()
            if self._rate:
                self._tokens -= count

    def wait(self) -> float:
        """Seconds until the next bytes may pass; 0: now."""
        with self._lock:
            self._fill()
            return max(0.0, -self._tokens / self._rate) if self._rate else 0.0

    def _fill(self) -> None:
        now = self._clock()
        if self._rate:
            self._tokens = min(self._tokens + (now - self._filled) * self._rate, self._rate * BURST)
        else:
            self._tokens = 0.0
        self._filled = now


class Control:
    """Handed to a copy, and kept by whoever may end or slow it."""

    def __init__(self, *, bandwidth: int = 0, stall: float = 120.0) -> None:
        """`bandwidth` in bytes a second, 0 for no limit; `stall`: seconds without a byte after which a copy fails."""
        self.meter = Meter()
        self.throttle = Throttle(bandwidth)
        self.stall = stall
        self._cancelled = threading.Event()
        self._error: StillframeError | None = None
        self._lock = threading.Lock()
        self._heard = time.monotonic()

    @property
    def silent(self) -> float:
        """Seconds since whoever runs under this control last gave a sign of life."""
        return time.monotonic() - self._heard

    def alive(self) -> None:
        """A sign of life; `check` is one too."""
        self._heard = time.monotonic()

    def cancel(self, error: StillframeError) -> None:
        """End what runs under this control with this error, within 0.2 s; the first error stays."""
        with self._lock:
            if self._error is None:
                self._error = error
        self._cancelled.set()

    def check(self) -> None:
        """Raise the error it was cancelled with, if it was."""
        self.alive()
        if self._error is not None:
            raise self._error

    def within(self, seconds: float, what: str) -> Callable[[], None]:
        """A check that also raises DeadlineExceeded, with these words, once so many seconds from now have passed."""
        deadline = time.monotonic() + seconds

        def check() -> None:
            self.check()
            if time.monotonic() > deadline:
                raise DeadlineExceeded(what=what, seconds=seconds)

        return check

    def sleep(self, seconds: float) -> None:
        """Wait so long, or until cancelled; then raise that error."""
        self._cancelled.wait(seconds)
        self.check()
