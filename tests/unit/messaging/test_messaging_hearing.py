from __future__ import annotations

from typing import Any, cast

import pytest

from stillframe.errors.service import ControllerUnreachable
from stillframe.messaging.bus import Bus
from stillframe.messaging.remote import Hearing


class Away:
    """A bus whose broker comes and goes."""

    def __init__(self) -> None:
        self.there = True

    def call(self, *_: Any) -> None:
        if not self.there:
            raise ControllerUnreachable(reason="RabbitMQ cannot be reached")


def test_only_the_time_counts_in_which_the_controller_heard() -> None:
    bus, time = Away(), [100.0]
    hearing = Hearing(cast("Bus", bus), "c1", clock=lambda: time[0])
    assert hearing.clock() == 0

    def check_at(now: float, *, there: bool) -> float:
        bus.there, time[0] = there, now
        if there:
            hearing.check()
        else:
            with pytest.raises(ControllerUnreachable):
                hearing.check()
        return hearing.clock()

    assert check_at(105, there=True) == 0
    assert check_at(110, there=True) == 5
    assert check_at(115, there=False) == 5
    assert check_at(900, there=False) == 5
    assert check_at(905, there=True) == 5  # how long it was away before that, nobody knows
    assert check_at(910, there=True) == 10
