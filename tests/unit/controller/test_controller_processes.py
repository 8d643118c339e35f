"""Several processes over one database."""

from __future__ import annotations

from stillframe.controller.captures import Captures
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.model import CaptureStatus
from tests.unit.controller import racers
from tests.unit.controller.scene import instance, inventory

ROUNDS = 8
PROCESSES = 4


def test_of_processes_that_wish_at_once_exactly_one_wins(
    url: str, captures: Captures, endpoint: ControllerEndpoint
) -> None:
    web = instance()
    endpoint.heartbeat(inventory(web))
    outcomes = racers.run(url, web, processes=PROCESSES, rounds=ROUNDS)
    records = {capture.id: capture for capture in captures.list()}
    assert len(records) == ROUNDS
    for turn in range(ROUNDS):
        mine = [outcome for outcome in outcomes if outcome.round == turn]
        (accepted,) = [outcome.accepted for outcome in mine if outcome.accepted]
        committed = sum(outcome.committed for outcome in mine)
        cancelled = sum(outcome.cancelled for outcome in mine)
        assert committed <= 1
        assert (committed == 0) or (cancelled == 0)
        expected = CaptureStatus.COMPLETED if committed else CaptureStatus.CANCELLED
        assert records[accepted].status is expected
        assert records[accepted].attempt == PROCESSES
