from __future__ import annotations

import pytest

from stillframe.capture.timeline import Timeline
from stillframe.errors.capture import NoSpace
from stillframe.model import Step, now


def test_a_step_has_its_words_its_bytes_and_an_end() -> None:
    timeline = Timeline()
    with timeline.step("transfer") as step:
        step.note("first")
        step.note("second")
        step.bytes = 7
        assert timeline.steps()[0].ended_at is None
    (done,) = timeline.steps()
    assert (done.name, done.message, done.bytes, done.failed) == ("transfer", "first; second", 7, False)
    assert done.ended_at is not None
    assert done.ended_at >= done.started_at


def test_a_step_that_fails_says_why_and_lets_the_failure_through() -> None:
    timeline = Timeline()
    with pytest.raises(NoSpace), timeline.step("transfer"):
        raise NoSpace(what="store", needed=2, free=1, operator="/srv/images")
    (done,) = timeline.steps()
    assert done.failed
    assert done.message == "The store has too little room: 2 bytes needed, 1 free."
    assert done.operator == "/srv/images"


def test_steps_inside_steps_keep_the_order_of_their_starts() -> None:
    timeline = Timeline()
    with timeline.step("outer"), timeline.step("inner"):
        pass
    assert [step.name for step in timeline.steps()] == ["outer", "inner"]


def test_every_change_is_told() -> None:
    told: list[int] = []
    timeline = Timeline(changed=lambda: told.append(1))
    with timeline.step("a"):
        assert len(told) == 1
    timeline.event("b", "words")
    assert len(told) == 3


def test_a_step_that_a_killed_agent_left_open_is_closed_as_interrupted() -> None:
    began = now()
    (step,) = Timeline((Step("transfer", began),)).steps()
    assert (step.ended_at, step.failed, step.message) == (began, True, "interrupted")
