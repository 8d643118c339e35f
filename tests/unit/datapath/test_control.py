from __future__ import annotations

import threading
import time

import pytest

from stillframe.datapath.control import Control, Meter, Throttle
from stillframe.errors.capture import CaptureCancelled, DeadlineExceeded, ServiceStopped


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_rate_is_that_of_the_last_seconds() -> None:
    clock = Clock()
    meter = Meter(clock)
    meter.expect(1000)
    for count in [10] * 40 + [1] * 40:
        clock.now += 0.5
        meter.add(count)
    progress = meter.progress()
    assert (progress.done, progress.total) == (440, 1000)
    assert progress.rate == pytest.approx(2, rel=0.1)
    assert progress.seconds_left == pytest.approx(280, rel=0.1)


def test_the_rate_of_a_stalled_copy_decays() -> None:
    clock = Clock()
    meter = Meter(clock)
    for _ in range(20):
        clock.now += 0.5
        meter.add(100)
    clock.now += 100
    assert meter.progress().rate < 5


def test_nothing_counted_has_no_rate() -> None:
    assert Meter().progress().rate == 0


def test_a_throttle_lets_its_rate_pass() -> None:
    clock = Clock()
    throttle = Throttle(1000, clock)
    passed = 0
    while clock.now < 110:
        if throttle.wait() == 0:
            throttle.take(100)
            passed += 100
        clock.now += 0.01
    assert passed == pytest.approx(10_000, rel=0.05)


def test_an_overdraft_is_waited_for_and_a_new_rate_counts_at_once() -> None:
    clock = Clock()
    throttle = Throttle(100, clock)
    throttle.take(1000)
    assert throttle.wait() == pytest.approx(10)
    throttle.rate = 1000
    assert throttle.wait() == pytest.approx(1)
    throttle.rate = 0
    assert throttle.wait() == 0


def test_idle_time_is_not_saved_up() -> None:
    clock = Clock()
    throttle = Throttle(1000, clock)
    clock.now += 3600
    throttle.take(1000)
    assert throttle.wait() == pytest.approx(0.75)


def test_the_first_cancellation_stays_and_wakes_a_sleeper() -> None:
    control = Control()
    control.check()
    threading.Timer(0.05, control.cancel, [CaptureCancelled()]).start()
    start = time.monotonic()
    with pytest.raises(CaptureCancelled):
        control.sleep(30)
    assert time.monotonic() - start < 5
    control.cancel(ServiceStopped())
    with pytest.raises(CaptureCancelled):
        control.check()


def test_a_check_can_have_a_deadline() -> None:
    control = Control()
    control.within(60, "Reading the map")()
    with pytest.raises(DeadlineExceeded, match="Reading the map took longer than -1 seconds"):
        control.within(-1, "Reading the map")()
    control.cancel(CaptureCancelled())
    with pytest.raises(CaptureCancelled):
        control.within(60, "Reading the map")()
