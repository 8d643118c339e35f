from __future__ import annotations

from typing import cast

import pytest

from stillframe.capture.kept import Journal, Kept
from stillframe.capture.standing import Standing
from stillframe.datapath.control import Control
from stillframe.errors.base import Reported
from stillframe.errors.capture import Superseded
from stillframe.messaging.contract import CaptureReport, Order
from stillframe.model import ImageRequest, ImageResult, Phase, Way, Wishes

ORDER = Order("c1", "i1", (ImageRequest("c1", "golden"),), Wishes(), "req-1")
CAUSE = Superseded(reason="it was cancelled").fault
IMAGES = (ImageResult("c1", "raw", 1, 1),)


class Written:
    """A journal that remembers what is kept, or fails."""

    def __init__(self) -> None:
        self.kept: list[Kept] = []
        self.fails = False

    def keep(self, kept: Kept) -> None:
        if self.fails:
            raise OSError("no space left on device")
        self.kept.append(kept)


class Scene:
    """One capture, and how often others were told to look at it."""

    def __init__(self, end: CaptureReport | None = None) -> None:
        self.journal, self.told = Written(), 0
        self.control = Control(stall=1)
        journal = cast("Journal", self.journal)
        self.standing = Standing(Kept(ORDER), end, control=self.control, journal=journal, changed=self._changed)

    def _changed(self) -> None:
        self.told += 1


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_what_is_kept_has_the_attempt_and_the_steps_up_to_then(scene: Scene) -> None:
    scene.standing.attempt = "token"
    with scene.standing.timeline.step("plan"):
        scene.standing.keep(Kept(ORDER, way=Way("backup", "directory")))

    (kept,) = scene.journal.kept
    assert (kept.attempt, [step.name for step in kept.steps]) == ("token", ["plan"])
    assert scene.standing.kept == kept
    assert scene.standing.report().way == Way("backup", "directory")


def test_what_could_not_be_written_is_not_told_either(scene: Scene) -> None:
    scene.journal.fails = True
    with pytest.raises(OSError, match="no space left"):
        scene.standing.keep(Kept(ORDER, way=Way("backup", "directory")))
    assert scene.standing.report().way is None


def test_each_phase_and_each_step_is_told_and_a_sign_of_life(scene: Scene) -> None:
    scene.standing.enter(Phase.HOLDING)
    assert (scene.standing.report().phase, scene.told) == (Phase.HOLDING, 1)
    with scene.standing.timeline.step("plan"):
        assert scene.told == 2
    assert scene.told == 3


def test_an_attempt_that_has_failed_keeps_its_cause_though_its_thread_hangs_while_it_gives_back(scene: Scene) -> None:
    scene.standing.decide(((), CAUSE))
    given_up = scene.standing.give_up(5, ("file /scratch",))
    assert given_up is not None
    end, why = given_up
    assert (end.fault, why.code) == (CAUSE, "capture-hung")
    assert [held.partition(":")[0] for held in end.held] == ["file /scratch"]


def test_an_end_is_decided_once(scene: Scene) -> None:
    assert scene.standing.give_up(5, ()) is not None
    assert scene.standing.give_up(5, ()) is None
    scene.standing.decide((IMAGES, None))
    end = scene.standing.end(())
    assert end.fault is not None
    assert (end.fault.code, end.images) == ("capture-hung", ())
    with pytest.raises(Reported, match="given up"):
        scene.standing.published(IMAGES)


def test_what_was_published_just_before_it_was_given_up_has_ended_well(scene: Scene) -> None:
    scene.standing.published(IMAGES)
    given_up = scene.standing.give_up(5, ())
    assert given_up is not None
    assert (given_up[0].fault, given_up[0].images) == (None, IMAGES)


def test_what_was_given_up_is_not_published_any_more(scene: Scene) -> None:
    scene.standing.expect_in_hand()
    scene.standing.give_up(5, ())
    with pytest.raises(Reported, match="given up"):
        scene.standing.expect_in_hand()


def test_what_is_published_has_ended_well_whatever_its_thread_says_later(scene: Scene) -> None:
    scene.standing.published(IMAGES)
    scene.standing.decide(((), CAUSE))
    end = scene.standing.end(("file /scratch",))
    assert (end.fault, end.images, end.held) == (None, IMAGES, ("file /scratch",))
    scene.standing.still_holds(())
    assert scene.standing.report().held == ()


def test_what_ended_in_an_earlier_run_of_the_agent_stays_as_it_ended() -> None:
    told = CaptureReport("c1", "token", Phase.ENDED, fault=CAUSE)
    standing = Scene(told).standing
    assert standing.ended
    assert standing.report() == told
