from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from stillframe.capture.job import Job
from stillframe.capture.kept import Journal, Kept
from stillframe.capture.slots import Slots
from stillframe.capture.tools import Tools
from stillframe.errors.base import Reported, StillframeError
from stillframe.errors.capture import Superseded
from stillframe.errors.service import ControllerUnreachable, DatabaseUnusable
from stillframe.messaging.contract import ControllerApi, Order
from stillframe.model import ImageRequest, Wishes

ORDER = Order("c1", "i1", (ImageRequest("c1", "golden"),), Wishes(), "req-1")
AWAY = ControllerUnreachable(reason="RabbitMQ cannot be reached")


class NoJournal:
    """Nothing was ever held."""

    def leased(self, capture_id: str) -> list[Any]:
        return []

    def ended(self, report: Any) -> None:
        pass


class Answering:
    """A controller with these answers to begin, the last of which stays."""

    def __init__(self, *answers: StillframeError) -> None:
        self._answers = list(answers)
        self.asked = 0

    def begin(self, *_: str) -> str:
        self.asked += 1
        raise self._answers[min(self.asked, len(self._answers)) - 1]


def ended_with(controller: Answering, step_deadline: float = 60) -> str:
    """The code that a capture ends with."""
    job = Job(
        Kept(ORDER),
        tools=cast("Tools", SimpleNamespace(options=SimpleNamespace(transfer_stall=1, step_deadline=step_deadline))),
        journal=cast("Journal", NoJournal()),
        controller=cast("ControllerApi", controller),
        slots=Slots(1),
        identity=("one", "run-1"),
        changed=lambda: None,
    )
    job.run()
    fault = job.report().fault
    assert fault is not None
    return fault.code


@pytest.mark.parametrize("away", [AWAY, Reported(DatabaseUnusable(reason="it is gone").fault)])
def test_a_controller_that_is_away_is_asked_again_until_it_decides(away: StillframeError) -> None:
    controller = Answering(away, away, Superseded(reason="it was cancelled"))
    assert ended_with(controller) == "superseded"
    assert controller.asked == 3


def test_a_controller_that_stays_away_ends_the_capture_with_that() -> None:
    assert ended_with(Answering(AWAY), step_deadline=0.1) == "controller-unreachable"


def test_a_decision_is_not_asked_for_again() -> None:
    controller = Answering(Reported(Superseded(reason="it was cancelled").fault))
    assert ended_with(controller) == "superseded"
    assert controller.asked == 1
