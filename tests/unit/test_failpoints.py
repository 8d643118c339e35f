"""Every lease, step and call has its points, and production code does nothing at them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast
from unittest import mock

import pytest

from lab.faulty import Action, Fault, Faults, Injected, Plan
from lab.points import AROUND, LEASE, SOURCE, points
from stillframe import failpoints
from stillframe.capture.leases import KINDS, Leases, OwnFile
from stillframe.capture.timeline import Timeline
from stillframe.capture.tools import Tools
from stillframe.controller import decisions
from stillframe.messaging.contract import ControllerApi


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The points that were come to."""
    names: list[str] = []
    monkeypatch.setattr(failpoints, "reached", names.append)
    return names


def test_a_lease_comes_to_its_points_in_order(reached: list[str], tmp_path: Path) -> None:
    def written(*_: str) -> int:
        reached.append("written")
        return 1

    ledger = mock.Mock(**{"leased.return_value": [], "lease.side_effect": written})
    leases = Leases("c", ledger, cast("Tools", None))
    lease = OwnFile(str(tmp_path / "file"))
    with leases.taking(lease):
        reached.append("made")
    leases.give_back(lease)
    moments = [name.removeprefix("lease.OwnFile.") for name in reached]
    assert moments == ["journaling", "written", "journaled", "made", "taken", "giving-back", "given-back", "forgotten"]


def test_a_step_comes_to_its_points_without_its_target(reached: list[str]) -> None:
    with Timeline().step("transfer vda"):
        pass
    assert reached == ["step.transfer.entered", "step.transfer.left"]


def test_what_fails_at_a_point_of_a_step_fails_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failpoints, "reached", mock.Mock(side_effect=Injected("here")))
    timeline = Timeline()
    with pytest.raises(Injected), timeline.step("plan"):
        pass
    assert [step.failed for step in timeline.steps()] == [True]


def test_every_kind_of_lease_every_step_and_every_call_is_listed() -> None:
    listed = points()
    assert {f"lease.{kind}.{moment}" for kind in KINDS for moment in LEASE} <= set(listed)
    calls = [name for name in vars(ControllerApi) if not name.startswith("_")]
    assert {f"call.{call}.{moment}" for call in calls for moment in AROUND} <= set(listed)
    changes = [decisions.begin, decisions.commit, decisions.cancel, decisions.note, decisions.fail]
    assert {f"record.{change.__name__}.{moment}" for change in changes for moment in AROUND} <= set(listed)
    steps = {point.split(".")[1] for point in listed if point.startswith("step.")}
    assert {"plan", "prepare", "instant", "map", "transfer", "clone", "commit", "publish", "resume"} <= steps
    assert all(point.count(".") == 2 or point.startswith("bytes.") for point in listed), listed


def test_no_lease_is_taken_past_its_points() -> None:
    """Whoever writes to the ledger does so in leases.py, which has the points."""
    writers = [file.name for file in SOURCE.rglob("*.py") if "ledger.lease(" in file.read_text()]
    assert writers == ["leases.py"]


def test_nothing_happens_at_a_point_in_production() -> None:
    assert failpoints.reached(cast("Any", None)) is None  # type: ignore[func-returns-value]
    lines = {line for file in SOURCE.rglob("*.py") for line in file.read_text().splitlines()}
    assert not {line for line in lines if line.strip().startswith(("import lab", "from lab"))}


def test_a_fault_happens_once_at_its_point(tmp_path: Path) -> None:
    plan = Plan(tmp_path)
    faults = Faults(plan)
    faults.reached("a.b.c")
    plan.arm(Fault("a.b.c", Action.RAISE))
    faults.reached("other")
    assert not plan.fired.exists()
    with pytest.raises(Injected):
        faults.reached("a.b.c")
    faults.reached("a.b.c")
    assert plan.disarm()


def test_a_fault_waits_for_the_point_that_it_counts_from(tmp_path: Path) -> None:
    plan = Plan(tmp_path)
    faults = Faults(plan)
    for _ in range(2):  # the second is a fault of its own
        plan.arm(Fault("a.b.c", Action.RAISE, since="begun"))
        faults.reached("a.b.c")
        faults.reached("begun")
        with pytest.raises(Injected):
            faults.reached("a.b.c")
