from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stillframe.capture.guarding import Arm
from stillframe.capture.leases import SuspendedGuest
from stillframe.capture.sources import suspension
from stillframe.capture.work import Work
from stillframe.hypervisor import power


class Recorder:
    """Leases and guard in one: what is held, what is armed."""

    def __init__(self) -> None:
        self.held: list[SuspendedGuest] = []
        self.armed: list[str] = []

    @contextmanager
    def taking(self, lease: SuspendedGuest) -> Iterator[None]:
        self.held.append(lease)
        yield

    def drop(self, lease: SuspendedGuest) -> None:
        self.held.remove(lease)

    def arm(self, arm: Arm) -> None:
        self.armed.append(arm.key)

    def disarm(self, key: str) -> bool:
        self.armed.remove(key)
        return True


def work(recorder: Recorder) -> Work:
    instance = SimpleNamespace(id="instance", run="run")
    tools = SimpleNamespace(hypervisor=None, guard=recorder)
    made: Any = SimpleNamespace(
        subject=SimpleNamespace(instance=instance), tools=tools, leases=recorder, capture_id="capture"
    )
    return cast("Work", made)


@pytest.mark.parametrize("ours", [True, False])
def test_a_pause_that_someone_else_began_is_neither_held_nor_guarded(
    ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    monkeypatch.setattr(power, "suspend", lambda _connection, _instance: ours)
    lease = suspension.suspend(work(recorder), 10)
    assert (lease is not None) == ours
    assert recorder.held == ([lease] if ours else [])
    assert len(recorder.armed) == ours
