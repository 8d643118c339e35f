from __future__ import annotations

import threading
import time
from typing import Any, cast

import pytest

from lab.wait import until
from stillframe.errors.service import ControllerUnreachable
from stillframe.messaging.bells import Bells
from stillframe.messaging.bus import Bus


class Stuck:
    """A bus whose casts wait until they are let go, and then fail or not."""

    def __init__(self, *, fails: bool) -> None:
        self.fails = fails
        self.go = threading.Event()
        self.cast_to: list[str] = []

    def cast(self, target: Any, method: str, seconds: float) -> None:
        assert (method, target.fanout) == ("wake", True)
        self.cast_to.append(target.topic)
        self.go.wait(seconds)
        if self.fails:
            raise ControllerUnreachable(reason="RabbitMQ cannot be reached")


@pytest.mark.parametrize("fails", [False, True])
def test_nobody_waits_for_the_broker_and_a_host_is_woken_once_for_all_that_came_meanwhile(fails: bool) -> None:
    bus = Stuck(fails=fails)
    bells = Bells(cast("Bus", bus))
    bells.wake("one")
    until(lambda: bus.cast_to, 5, "the first cast")
    began = time.monotonic()
    for _ in range(1000):
        bells.wake("two")
    assert time.monotonic() - began < 1
    bus.go.set()
    until(lambda: len(bus.cast_to) == 2, 5, "the second cast")
    bells.close()
    assert bus.cast_to == ["stillframe-agent.one", "stillframe-agent.two"]
