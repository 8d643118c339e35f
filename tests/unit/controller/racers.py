"""What each of several processes does to the same instance at the same moment."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

from stillframe.controller.captures import Captures
from stillframe.controller.database import Database
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.errors.capture import Superseded
from stillframe.errors.request import CaptureEnded, WrongState
from stillframe.model import Instance
from tests.unit.controller.scene import OPTIONS, Bells, ended, request, told

PATIENCE = 60  # seconds


@dataclass(frozen=True)
class Won:
    """What one process got in one round."""

    round: int
    accepted: str | None
    begun: bool
    committed: bool
    cancelled: bool


def race(url: str, instance: Instance, number: int, rounds: int, start: Barrier, won: Queue[Won]) -> None:
    """In each round all accept, begin, and then half of them commit what they began while the others cancel."""
    db = Database(url)
    captures, endpoint = Captures(db, Bells()), ControllerEndpoint(db, OPTIONS)
    for turn in range(rounds):
        start.wait(PATIENCE)
        try:
            accepted = captures.accept(request(instance)).id
        except WrongState:
            accepted = None
        start.wait(PATIENCE)
        (open_,) = (capture.id for capture in captures.list() if not capture.status.final)
        token = endpoint.begin(open_, "one", f"run-{number}")
        start.wait(PATIENCE)
        committed = cancelled = False
        try:
            if number % 2:
                captures.cancel(open_, None)
                cancelled = True
            else:
                endpoint.commit(open_, token)
                committed = True
        except (Superseded, CaptureEnded):
            pass
        won.put(Won(turn, accepted, bool(token), committed, cancelled))
        start.wait(PATIENCE)
        told(endpoint, ended(open_, token))
    db.close()


def run(url: str, instance: Instance, *, processes: int, rounds: int) -> list[Won]:
    """The outcomes of all processes, released together in each step; none may fail."""
    context = multiprocessing.get_context("spawn")
    start, won = context.Barrier(processes), context.Queue()
    racers = [
        context.Process(target=race, args=(url, instance, number, rounds, start, won), daemon=True)
        for number in range(processes)
    ]
    for racer in racers:
        racer.start()
    outcomes = [won.get(timeout=PATIENCE) for _ in range(processes * rounds)]
    for racer in racers:
        racer.join(PATIENCE)
        assert racer.exitcode == 0
    return outcomes
