from __future__ import annotations

from collections.abc import Iterator

import pytest

from stillframe.errors.glance import GlanceUnreachable, ImageForbidden
from stillframe.errors.patience import Patience

AWAY = (GlanceUnreachable.code,)


class Asked:
    """Answers what it is given, one after the other, and raises what is an error."""

    def __init__(self, *answers: str | Exception) -> None:
        self._answers: Iterator[str | Exception] = iter(answers)
        self.pauses: list[float] = []

    def answer(self) -> str:
        given = next(self._answers)
        if isinstance(given, Exception):
            raise given
        return given


def away() -> GlanceUnreachable:
    return GlanceUnreachable(reason="the connection was refused")


def test_what_is_back_in_time_answers() -> None:
    asked = Asked(away(), away(), "yes")
    assert Patience(60, AWAY, 0.5).ask(asked.answer, asked.pauses.append) == "yes"
    assert asked.pauses == [0.5, 0.5]


def test_another_failure_is_an_answer() -> None:
    asked = Asked(ImageForbidden(what="take the data", reason="it is another's"), "yes")
    with pytest.raises(ImageForbidden):
        Patience(60, AWAY, 0.5).ask(asked.answer, asked.pauses.append)
    assert asked.pauses == []


def test_whoever_waits_no_longer_gets_the_failure_itself() -> None:
    asked = Asked(away(), "yes")
    with pytest.raises(GlanceUnreachable):
        Patience(0, AWAY, 0.5).ask(asked.answer, asked.pauses.append)


def test_a_wait_that_is_cancelled_ends_by_what_cancelled_it() -> None:
    def cancelled(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Patience(60, AWAY, 0.5).ask(Asked(away(), "yes").answer, cancelled)
