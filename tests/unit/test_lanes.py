"""The lanes in which the fault matrix and the soak work."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import nullcontext

import pytest

from lab.matrix import run


def test_interrupted_they_begin_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "lane", nullcontext)
    # shells have it ignored by what runs in the background
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    begun: list[int] = []
    noticed = threading.Event()

    def act(_: object, thing: int) -> None:
        begun.append(thing)
        os.kill(os.getpid(), signal.SIGINT)
        assert noticed.wait(10)

    try:
        with pytest.raises(KeyboardInterrupt):
            run.side_by_side(range(100), 1, act)
    finally:
        signal.signal(signal.SIGINT, before)
    noticed.set()
    for thread in threading.enumerate():
        if thread.name.startswith("lane-"):
            thread.join(10)
    assert begun == [0]
