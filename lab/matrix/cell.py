"""One cell: a capture is made one way, one fault happens at one point, and then everything must hold."""

from __future__ import annotations

import http.client
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import Any

from sqlalchemy import delete

from lab import captures
from lab.faulty import Action, Fault
from lab.matrix import settled, ways
from lab.matrix.lane import HANG, SILENCE, Lane
from lab.matrix.ways import Way
from lab.wait import NotInTime, until
from stillframe import config
from stillframe.controller.database import Database
from stillframe.controller.reconcile import Reconciler
from stillframe.controller.schema import claims
from stillframe.errors.base import StillframeError
from stillframe.messaging.inprocess import InProcess
from stillframe.model import now

LOST = (OSError, http.client.HTTPException)  # what a client sees of a service that dies while it answers
ANSWERS = 3.0  # seconds within which the service answers, or has just been broken
HAPPENS = 40.0  # seconds within which a point is come to
ENDS = 60.0  # seconds within which a capture ends after its fault: a slow one that goes on takes half of it
GONE = 30.0  # seconds within which nothing is left after that
IN_HAND = "step.plan.entered"
BY_ITSELF = ("call.heartbeat", "guard.disarm")  # points that are come to without a capture too
GIVEN_BACK = 6.0  # seconds within which a guest is given back by whoever is left: the deadlines of the lane, and time


class Break(StrEnum):
    """What goes wrong at a point: the rows of the table."""

    KILLED = "kill"  # and started again at once
    DEAD = "kill-alone"  # the guard is alone, until it has ended
    RAISES = "exception"
    HANGS = "hang"
    STOPPED = "stop"  # SIGSTOP, until another controller has given the capture up


ACTIONS = {
    Break.KILLED: Action.KILL,
    Break.DEAD: Action.KILL,
    Break.RAISES: Action.RAISE,
    Break.HANGS: Action.HANG,
    Break.STOPPED: Action.STOP,
}


@dataclass(frozen=True, slots=True)
class Cell:
    """Where the table has one outcome."""

    point: str
    broken: Break
    way: Way

    @property
    def name(self) -> str:
        """As it is asked for on the command line."""
        return f"{self.point}/{self.broken}/{self.way.name}"

    @property
    def by_default(self) -> bool:
        """Whether no other way tries the same code at this point."""
        return not self.way.only or self.point.startswith(self.way.only)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a cell that holds."""

    status: str  # of the capture
    code: str  # of its fault
    seconds: float  # from the fault until everything held
    stall: float  # seconds of the guest's longest write


def named(name: str) -> Cell:
    """The cell of this name; raises KeyError or ValueError."""
    point, broken, way = name.split("/")
    return Cell(point, Break(broken), ways.named(way))


def points_of(lane: Lane, way: Way) -> tuple[str, ...]:
    """The points that a capture comes to this way, in the order in which it first comes to them."""
    lane.plan.reached.touch()
    try:
        capture = _begun(lane, way, None)
        lane.service.ready()
        if (record := captures.ended(lane.service, capture, ENDS))["status"] != way.ends:
            raise settled.Broken(f"without any fault it {record['status']}: {record}")
        settled.nothing_is_left(lane, way, GONE)
        said = lane.plan.reached.read_text().split()
    finally:
        lane.plan.reached.unlink()
    _forget(lane, capture)
    since = said[said.index(way.since) :] if way.since else said
    return tuple(dict.fromkeys(since))


def run(lane: Lane, cell: Cell) -> Outcome:
    """Runs the cell; raises what does not hold, with the record of the capture where there is one."""
    way, began = cell.way, time.time()
    since = way.since or (IN_HAND if cell.point.startswith(BY_ITSELF) else "")
    capture = _begun(lane, way, Fault(cell.point, ACTIONS[cell.broken], since, HANG))
    _come_to(lane, cell.point, capture)
    happened = time.monotonic()
    AFTERWARDS[cell.broken](lane, way)
    lane.service.ready()
    capture = capture or _newest(lane)
    record = captures.ended(lane.service, capture, ENDS)
    try:
        settled.nothing_is_left(lane, way, GONE)
        seconds = time.monotonic() - happened
        record = captures.record(lane.service, capture)
        settled.tells_what_happened(record, foreseen=cell.broken is not Break.RAISES)
        settled.image_is_right(lane, way, record)
        settled.no_other_images(lane, GONE, record)
        settled.pools_are_as_before(lane, way, record, GONE)
    except AssertionError as error:
        raise settled.Broken(f"{error}\n{record}") from error
    _forget(lane, capture)
    stall = lane.witnesses[way.guest].longest(began) if way.running else 0.0
    return Outcome(record["status"], record["fault"]["code"] if record["fault"] else "", seconds, stall)


def _begun(lane: Lane, way: Way, fault: Fault | None) -> str:
    """A capture under way for which the fault is armed, once what goes wrong before it has gone wrong."""
    lane.serve(way)
    guest, _ = lane.guests[way.guest]
    captures.known(lane.service, guest, "ACTIVE" if way.running else "SHUTOFF")
    if first := way.first or fault:
        lane.plan.arm(first)
    capture = _asked(lane, way)
    if way.first:
        until(lane.plan.fired.exists, HAPPENS, f"{way.first.point} to be come to")
        if fault:
            lane.plan.arm(fault)
        if way.first.action is Action.KILL:
            until(lambda: not lane.service.running, HAPPENS, "the end of the service")
            lane.service.launch()
    if way.cancelled:
        captures.moving(lane.service, capture)
        _cancel(lane, capture)
    return capture


def _come_to(lane: Lane, point: str, capture: str) -> None:
    """Waits for the fault; raises Broken with the record of a capture that never comes there."""
    try:
        until(lane.plan.fired.exists, HAPPENS, f"{point} to be come to")
    except NotInTime as error:
        raise settled.Broken(f"{error}: {captures.record(lane.service, capture or _newest(lane))}") from error


def _asked(lane: Lane, way: Way) -> str:
    """The capture's id; empty when the fault came before the answer."""
    wanted = {"server_id": lane.guests[way.guest][0].id, "name": "image", **way.wishes}
    try:
        answer = lane.service.request("POST", "/v2.1/captures", {"capture": wanted}, timeout=ANSWERS)
    except LOST:
        until(lane.plan.fired.exists, HAPPENS, "the fault that the answer was lost by")
        return ""
    if answer.status != HTTPStatus.ACCEPTED:
        raise captures.Refused(answer.status, answer.body)
    identity: str = answer.body["capture"]["id"]
    return identity


def _newest(lane: Lane) -> str:
    identity: str = lane.service.get("/v2.1/captures?limit=1").body["captures"][0]["id"]
    return identity


def _cancel(lane: Lane, capture: str) -> None:
    """Asks for it; the answer may be lost with the service."""
    try:
        lane.service.request("DELETE", f"/v2.1/captures/{capture}", timeout=ANSWERS)
    except LOST:
        until(lane.plan.fired.exists, HAPPENS, "the fault that the answer was lost by")


def _forget(lane: Lane, capture: str) -> None:
    """Room for the next cell, which does not wait for the claims of a service that was killed: ten seconds."""
    lane.plan.disarm()
    lane.service.request("DELETE", f"/image/v2/images/{capture}")
    with _records(lane, ANSWERS) as (db, _):
        db.write(lambda connection: connection.execute(delete(claims)))


# -------------------------------------------------------------------------------------------------- after the fault


def started_again(lane: Lane) -> None:
    """After its death the service is started."""
    until(lambda: not lane.service.running, HAPPENS, "the end of the service")
    lane.service.start()


def left_to_the_guard(lane: Lane, way: Way) -> None:
    """Nobody starts the service before the guard has given the guest back and has ended."""
    until(lambda: not lane.service.running, HAPPENS, "the end of the service")
    settled.guest_thawed(lane, way, GIVEN_BACK)  # at once; a job is kept for the grace
    until(lambda: not lane.service.children(), GONE, "the end of the guard")
    settled.guest_is_well(lane, way, GIVEN_BACK)
    lane.service.start()


def _stands_still(lane: Lane, way: Way) -> None:
    """The guest has it back while the thread still hangs, unless it is to be paused as long as the agent lives."""
    if not way.wishes.get("cold"):
        settled.guest_thawed(lane, way, HANG - 0.5)


def _stopped(lane: Lane, way: Way) -> None:
    stopped = Path(f"/proc/{lane.service.pid}/stat")
    until(lambda: stopped.read_text().rpartition(")")[2].split()[0] == "T", HAPPENS, "the service to stand still")
    _given_up(lane)
    settled.guest_thawed(lane, way, GIVEN_BACK + SILENCE)
    os.kill(lane.service.pid, signal.SIGCONT)


def _given_up(lane: Lane) -> None:
    """Another controller of the same records finds the host lost, unless the stopped one has the database locked."""
    passed = 0.0
    with suppress(StillframeError), _records(lane, 0.5) as (db, settings):
        reconciler = Reconciler(db, settings, InProcess(), clock=lambda: passed)
        reconciler.run_once(now())
        passed = settings.host_timeout + 1
        reconciler.run_once(now())


@contextmanager
def _records(lane: Lane, busy: float) -> Iterator[tuple[Database, config.Controller]]:
    """The service's, as another controller sees them; it waits so many seconds for who writes."""
    settings = config.load(files=[lane.service.config_file])
    db = Database(settings.database.connection, busy_timeout=busy)
    try:
        yield db, settings.controller
    finally:
        db.close()


AFTERWARDS: dict[Break, Callable[[Lane, Way], Any]] = {
    Break.KILLED: lambda lane, _way: started_again(lane),
    Break.DEAD: left_to_the_guard,
    Break.RAISES: lambda _lane, _way: None,
    Break.HANGS: _stands_still,
    Break.STOPPED: _stopped,
}
