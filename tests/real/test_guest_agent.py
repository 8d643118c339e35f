"""Guest agents that are absent, hang, refuse, or were used by someone else: the guest is always given back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import captures, disks
from lab.factory import Guests
from lab.service import Service
from lab.wait import until
from tests.real import live_tools as live
from tests.real.conftest import StartService
from tests.real.live_tools import SLOWLY, Writing

SHORT = {"capture": {"agent_timeout": 1, "freeze_timeout": 3}}
QUIESCE = pytest.mark.parametrize("quiesce", [False, True], ids=["not required", "required"])


@pytest.fixture
def writer(shared_writer: Writing) -> Iterator[Writing]:
    """The guest of the module, which may be thawed late here."""
    yield shared_writer
    live.thawed(shared_writer.guest, 30)
    shared_writer.unharmed()


def ended_as_asked(service: Service, capture: str, *, quiesce: bool, within: float) -> dict[str, Any]:
    """Without a freeze that is certain: refused where one is required, else crash-consistent."""
    began = time.monotonic()
    if quiesce:
        shown = live.failed(service, capture, "cannot-freeze")
    else:
        shown = captures.completed(service, capture)
        assert shown["consistency"] == "crash"
    assert time.monotonic() - began < within
    return shown


@QUIESCE
def test_a_guest_without_an_agent_is_not_frozen(quiesce: bool, guests: Guests, service: Service, tmp: Path) -> None:
    guest = guests.define(disks.raw(tmp / "disk", live.SIZE), agent=False).start()

    shown = ended_as_asked(service, captures.begin(service, guest, quiesce=quiesce), quiesce=quiesce, within=15)

    if quiesce:
        assert shown["captured_at"] is None  # no job of libvirt was begun
    assert shown["frozen_ms"] is None
    live.tidy(service)


@QUIESCE
def test_an_agent_that_hangs_is_not_asked_to_freeze(
    quiesce: bool, writer: Writing, start_service: StartService, tmp: Path
) -> None:
    service = start_service(SHORT)
    writer.guest.hang_agent(7)

    shown = ended_as_asked(service, captures.begin(service, writer.guest, quiesce=quiesce), quiesce=quiesce, within=10)

    assert not shown["held"]
    if not quiesce:
        writer.saved(service, shown, tmp / "plain.raw")
    live.tidy(service)


@pytest.mark.faults
@QUIESCE
def test_an_agent_that_hangs_in_the_middle_of_a_freeze_thaws_when_it_answers(
    quiesce: bool, writer: Writing, start_service: StartService, tmp: Path
) -> None:
    service = start_service(SHORT)
    live.hook_agent(writer.guest, freeze="sleep 8; echo LAB freeze comes >/dev/console")
    said = len(writer.guest.serial())
    capture = captures.begin(service, writer.guest, quiesce=quiesce)

    shown = ended_as_asked(service, capture, quiesce=quiesce, within=10)

    assert any("frozen filesystems" in held for held in shown["held"])  # seen as long as nobody knows
    writer.guest.line("LAB freeze comes", 30, after=said)
    live.thawed(writer.guest, 15)
    if not quiesce:
        writer.saved(service, shown, tmp / "plain.raw")
    live.tidy(service, writer.guest, deadline=30)


@pytest.mark.faults
def test_a_late_freeze_is_undone_while_bytes_still_move(writer: Writing, start_service: StartService) -> None:
    service = start_service(SHORT)
    live.hook_agent(writer.guest, freeze="sleep 3; echo LAB freeze comes >/dev/console")
    said = len(writer.guest.serial())
    capture = captures.begin(service, writer.guest, bandwidth=SLOWLY // 3)
    writer.guest.line("LAB freeze comes", 30, after=said)

    live.thawed(writer.guest, 15)

    assert captures.record(service, capture)["status"] == "running"
    assert captures.completed(service, capture)["consistency"] == "crash"
    live.tidy(service, writer.guest)


@QUIESCE
def test_an_agent_that_does_not_answer_the_thaw_counts_as_no_freeze(
    quiesce: bool, writer: Writing, start_service: StartService
) -> None:
    service = start_service(SHORT)
    live.hook_agent(writer.guest, thaw="sleep 6")

    ended_as_asked(service, captures.begin(service, writer.guest, quiesce=quiesce), quiesce=quiesce, within=15)

    live.tidy(service, writer.guest, deadline=30)


@QUIESCE
def test_a_freeze_that_the_guard_had_to_end_counts_as_none(
    quiesce: bool, writer: Writing, start_service: StartService
) -> None:
    service = start_service({"capture": {"agent_timeout": 10, "freeze_timeout": 1}})
    live.hook_agent(writer.guest, freeze="sleep 3")

    shown = ended_as_asked(service, captures.begin(service, writer.guest, quiesce=quiesce), quiesce=quiesce, within=20)

    assert "the guard had to thaw the guest" in (live.step(shown, "instant") or {})["message"]
    live.tidy(service, writer.guest)


@QUIESCE
def test_a_guest_that_refuses_to_freeze(quiesce: bool, writer: Writing, service: Service) -> None:
    live.hook_agent(writer.guest, freeze="exit 1")

    shown = ended_as_asked(service, captures.begin(service, writer.guest, quiesce=quiesce), quiesce=quiesce, within=15)

    assert "could not freeze" in (live.step(shown, "instant") or {})["message"]
    live.tidy(service, writer.guest)


def test_the_freeze_of_someone_else_is_left_alone(writer: Writing, service: Service) -> None:
    writer.guest.agent("guest-fsfreeze-freeze")
    try:
        refused = captures.begin(service, writer.guest, quiesce=True)
        live.failed(service, refused, "frozen-by-other")
        assert writer.guest.agent("guest-fsfreeze-status") == "frozen"

        shown = captures.capture(service, writer.guest)

        assert shown["consistency"] == "crash"
        assert writer.guest.agent("guest-fsfreeze-status") == "frozen"
    finally:
        writer.guest.agent("guest-fsfreeze-thaw")
    live.tidy(service, writer.guest)


def test_killed_beside_the_freeze_of_someone_else_it_is_left_alone_too(writer: Writing, service: Service) -> None:
    writer.guest.agent("guest-fsfreeze-freeze")
    try:
        capture = captures.begin(service, writer.guest, bandwidth=SLOWLY)
        captures.moving(service, capture)
        service.kill()
        service.start()
        captures.completed(service, capture)
        until(lambda: not live.kept(service), 10, "the journal to be empty")
        assert writer.guest.agent("guest-fsfreeze-status") == "frozen"
    finally:
        writer.guest.agent("guest-fsfreeze-thaw")
