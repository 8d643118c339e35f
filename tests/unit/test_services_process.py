from __future__ import annotations

import logging
import threading
from contextlib import ExitStack

import pytest

from lab.wait import until
from stillframe.services import process


def test_a_chore_that_is_held_up_keeps_nobody_from_ending(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process, "LEAVE", 0.05)
    under_way, over = threading.Event(), threading.Event()

    def chore() -> None:
        under_way.set()
        over.wait(30)

    try:
        with caplog.at_level(logging.WARNING), ExitStack() as stack:
            process.every(stack, 0.001, "looking", chore)
            assert under_way.wait(10)
        assert not over.is_set()
        assert "looking: still under way after 0.05 seconds, and left behind" in caplog.text
    finally:
        over.set()


def test_a_chore_goes_on_after_a_failure_and_ends_with_the_stack() -> None:
    times = []

    def chore() -> None:
        times.append(1)
        raise RuntimeError("this once")

    with ExitStack() as stack:
        process.every(stack, 0.001, "trying", chore)
        until(lambda: len(times) > 1, 10, "the second time")
    assert "trying" not in [thread.name for thread in threading.enumerate()]
