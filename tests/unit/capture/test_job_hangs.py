"""A capture whose thread hangs is given up; what comes back later finds it decided."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lab.wait import until
from stillframe.capture.guarding import Arm, ArmKind
from stillframe.capture.hangs import TIMES
from stillframe.capture.job import Job
from stillframe.capture.kept import Journal, Kept
from stillframe.capture.slots import Slots
from stillframe.capture.tools import Tools
from stillframe.errors.capture import Superseded
from stillframe.messaging.contract import CaptureReport, ControllerApi, Order
from stillframe.model import ImageRequest, Phase, Wishes

ORDER = Order("c1", "i1", (ImageRequest("c1", "golden"),), Wishes(), "req-1")
SECONDS = 0.05
ARMED = (
    Arm("c1:backup", ArmKind.ABORT, "i1", "run", socket="/run/s"),
    Arm("c2:thaw", ArmKind.THAW, "i2", "run", 10.0),
)


class Hanging:
    """A controller whose answer to begin does not come before `returns` is set."""

    def __init__(self) -> None:
        self.asked, self.returns = threading.Event(), threading.Event()

    def begin(self, *_: str) -> str:
        self.asked.set()
        self.returns.wait(10)
        raise Superseded(reason="the answer came too late")


class Recording:
    """A journal and a guard that remember."""

    def __init__(self) -> None:
        self.ends: list[CaptureReport] = []
        self.armed_again: list[Arm] = []

    def leased(self, capture_id: str) -> list[tuple[int, str, str]]:
        return [(1, "OwnFile", '{"path": "/nowhere/scratch"}')]

    def returned(self, number: int) -> None:
        pass

    def ended(self, report: CaptureReport) -> None:
        self.ends.append(report)

    def armed(self) -> tuple[Arm, ...]:
        return ARMED

    def arm(self, arm: Arm) -> None:
        self.armed_again.append(arm)


class Scene:
    """One job in its thread, which hangs."""

    def __init__(self) -> None:
        self.controller, self.records, self.slots = Hanging(), Recording(), Slots(1)
        options = SimpleNamespace(transfer_stall=SECONDS, step_deadline=SECONDS)
        ceph = SimpleNamespace(options=SimpleNamespace(timeout=SECONDS))
        tools: Any = SimpleNamespace(options=options, guard=self.records, ceph=ceph)
        self.job = Job(
            Kept(ORDER),
            tools=cast("Tools", tools),
            journal=cast("Journal", self.records),
            controller=cast("ControllerApi", self.controller),
            slots=self.slots,
            identity=("one", "run-1"),
            changed=lambda: None,
        )
        self.thread = threading.Thread(target=self.job.run, daemon=True)
        self.thread.start()
        assert self.controller.asked.wait(5)

    def comes_back(self) -> None:
        self.controller.returns.set()
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.comes_back()


def test_it_hangs_once_nothing_was_heard_of_it_for_longer_than_any_step_may_take(scene: Scene) -> None:
    assert not scene.job.hangs()
    until(scene.job.hangs, 5, "the job to count as hung")
    assert scene.job._control.silent > TIMES * SECONDS


def test_given_up_it_has_failed_holds_what_it_holds_and_its_guest_goes_back(scene: Scene) -> None:
    scene.job.give_up()

    told = scene.job.report()
    assert told.phase is Phase.ENDED
    assert told.fault is not None
    assert told.fault.code == "capture-hung"
    assert [held.split(":")[0] for held in told.held] == ["file /nowhere/scratch"]
    assert scene.records.ends == [told]
    assert scene.records.armed_again == [replace(ARMED[0], seconds=0.0)]
    assert scene.job.given_up
    assert not scene.job.hangs()


def test_what_comes_back_gives_back_and_changes_nothing_else(scene: Scene) -> None:
    scene.job.give_up()
    scene.comes_back()

    told = scene.job.report()
    assert told.fault is not None
    assert told.fault.code == "capture-hung"
    assert told.held == ()
    assert scene.records.ends[-1] == told
    assert not scene.job.given_up


def test_what_has_ended_is_not_given_up(scene: Scene) -> None:
    scene.comes_back()
    scene.job.give_up()
    told = scene.job.report()
    assert told.fault is not None
    assert told.fault.code == "superseded"


def test_a_process_that_stood_still_as_a_whole_hangs_only_if_it_stays_silent(scene: Scene) -> None:
    until(lambda: scene.job._control.silent > TIMES * SECONDS, 5, "a long silence")
    assert not scene.job.hangs()
    scene.job._control.alive()
    assert not scene.job.hangs()
