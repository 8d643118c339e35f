from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

from lab.wait import until
from stillframe.agent.journal import Journal
from stillframe.agent.service import AgentService
from stillframe.capture.kept import Kept
from stillframe.capture.stillness import Stillness
from stillframe.capture.tools import Tools
from stillframe.config import Agent
from stillframe.errors.capture import HypervisorUnavailable, Superseded
from stillframe.errors.service import JournalFailed
from stillframe.messaging.contract import CaptureReport, HostReport, Order, Orders
from stillframe.model import ImageRequest, Phase, Wishes

OPTIONS = Agent(
    libvirt_uri="", heartbeat=0.01, progress_interval=0.01, max_transfers=1, guard_grace=1, guard_silence=10
)
ORDER = Order("c1", "i1", (ImageRequest("c1", "golden"),), Wishes(), "req-1")


class FullJournal:
    """A journal on a disk without room."""

    forgotten = 0  # tries

    def keep(self, kept: Kept) -> None:
        raise JournalFailed(what="write", operator="disk full")

    def leased(self, capture_id: str) -> list[tuple[int, str, str]]:
        return []

    def captures(self) -> list[Any]:
        return []

    def strays(self) -> list[str]:
        return []

    def forget(self, capture_id: str) -> None:
        self.forgotten += 1
        raise JournalFailed(what="write", operator="disk full")


class Wanting:
    """A controller that wants one capture until its end is reported."""

    def __init__(self) -> None:
        self.ends: list[CaptureReport] = []

    def heartbeat(self, report: HostReport) -> Orders:
        ended = [told for told in report.captures if told.phase is Phase.ENDED]
        self.ends += ended
        return Orders((), tuple(told.capture_id for told in ended)) if self.ends else Orders((ORDER,))

    def begin(self, capture_id: str, host: str, agent_run: str) -> str:
        raise Superseded(reason="nothing may begin without a journal")

    def stand_still(self, capture_id: str, attempt: str) -> bool:
        raise AssertionError

    def commit(self, capture_id: str, attempt: str) -> None:
        raise Superseded(reason="nothing may be committed without a journal")


class NoHypervisor:
    """libvirt is away."""

    def subscribe(self, callback: Any) -> Any:
        return lambda: None

    def handle(self) -> Any:
        raise HypervisorUnavailable


def test_without_a_journal_nothing_begins_and_the_capture_says_why() -> None:
    tools = SimpleNamespace(
        hypervisor=NoHypervisor(),
        stillness=Stillness(),
        options=SimpleNamespace(transfer_stall=1.0, step_deadline=1.0),
    )
    controller, journal = Wanting(), FullJournal()
    agent = AgentService(
        "host",
        tools=cast("Tools", tools),
        journal=cast("Journal", journal),
        controller=controller,
        options=OPTIONS,
        woken=threading.Event(),
        agent_id="agent",
    )
    agent.start()
    until(lambda: controller.ends, 5, "the end of the capture")
    until(lambda: journal.forgotten > 1, 5, "a second try to forget it")
    agent.stop(0)
    assert controller.ends[0].fault is not None
    assert controller.ends[0].fault.code == "journal-failed"
