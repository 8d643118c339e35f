"""Any order of wishes and messages, doubled, late and from dead attempts: what was decided stays decided."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from stillframe.controller.captures import Captures
from stillframe.controller.database import Database
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.controller.reconcile import Reconciler
from stillframe.controller.servers import Servers
from stillframe.errors.capture import ReadFailed, Superseded
from stillframe.errors.request import CaptureEnded, WrongState
from stillframe.messaging.contract import CaptureReport, HostReport
from stillframe.model import Capture, CaptureStatus, Instance, Phase, now
from tests.unit.controller.scene import OPTIONS, Bells, empty, ended, instance, new_id, report, request

RUNS = st.sampled_from(["run-1", "run-2"])
LIVE_PHASES = st.sampled_from([phase for phase in Phase if phase is not Phase.ENDED])
FAULT = ReadFailed(offset=0).fault


class Races(RuleBasedStateMachine):
    """One host, two instances; every message may come again, any time later."""

    captures = Bundle("captures")
    attempts = Bundle("attempts")
    messages = Bundle("messages")

    def __init__(self, db: Database) -> None:
        super().__init__()
        self.db = db
        options = replace(OPTIONS, gone_grace=0)
        self.api = Captures(self.db, Bells())
        self.servers = Servers(self.db)
        self.endpoint = ControllerEndpoint(self.db, options)
        self.reconciler = Reconciler(self.db, options, Bells())
        self.machines = [instance("web"), instance("mail")]
        self.newest: dict[str, str] = {}
        self.granted: dict[str, set[str]] = {}
        self.stopped: set[str] = set()
        self.final: dict[str, Capture] = {}

    def teardown(self) -> None:
        self.db.write(empty)

    def report_instances(self, *there: Instance) -> None:
        self.endpoint.heartbeat(HostReport("one", "run-1", inventory_digest=new_id(), inventory=there))

    def send(self, message: CaptureReport) -> CaptureReport:
        """Alone: the heartbeat of an agent that holds nothing else, or a late one."""
        before = self.api.get(message.capture_id, None)
        self.endpoint.heartbeat(HostReport("one", "run-1", captures=(message,)))
        stale = message.attempt != self.newest[message.capture_id]
        assert not stale or self.api.get(message.capture_id, None) == before
        return message

    @initialize(target=captures)
    def start(self) -> object:
        self.report_instances(*self.machines)
        return multiple(*[self.api.accept(request(machine)).id for machine in self.machines])

    @rule(target=captures, which=st.integers(0, 1))
    def accept(self, which: int) -> object:
        self.report_instances(*self.machines)
        try:
            return self.api.accept(request(self.machines[which])).id
        except WrongState:
            return multiple()

    @precondition(lambda self: self.final)
    @rule(which=st.integers(0, 1))
    def delete(self, which: int) -> None:
        self.report_instances(self.machines[1 - which])
        self.reconciler.run_once(now())

    @rule(target=attempts, capture=captures, run=RUNS)
    def begin(self, capture: str, run: str) -> object:
        try:
            self.newest[capture] = self.endpoint.begin(capture, "one", run)
        except Superseded:
            return multiple()
        return capture, self.newest[capture]

    @rule(target=messages, attempt=attempts, phase=LIVE_PHASES)
    def tell(self, attempt: tuple[str, str], phase: Phase) -> CaptureReport:
        return self.send(report(*attempt, phase))

    @rule(target=messages, attempt=attempts, failed=st.booleans())
    def tell_the_end(self, attempt: tuple[str, str], failed: bool) -> CaptureReport:
        return self.send(ended(*attempt, FAULT if failed else None))

    @rule(message=messages)
    def tell_again(self, message: CaptureReport) -> None:
        self.send(message)

    @rule(attempt=attempts)
    def commit(self, attempt: tuple[str, str]) -> None:
        capture, token = attempt
        try:
            self.endpoint.commit(capture, token)
        except Superseded:
            return
        assert capture not in self.stopped
        self.granted.setdefault(capture, set()).add(token)

    @rule(attempt=attempts)
    def cancel(self, attempt: tuple[str, str]) -> None:
        capture = attempt[0]
        try:
            self.api.cancel(capture, None)
        except CaptureEnded:
            return
        assert capture not in self.granted
        self.stopped.add(capture)

    @invariant()
    def what_has_ended_stays_as_it_ended(self) -> None:
        for capture in self.api.list():
            before = self.final.get(capture.id)
            assert before is None or before == capture
            if capture.status.final:
                self.final[capture.id] = capture

    @invariant()
    def at_most_one_attempt_may_publish_and_nothing_else_completes(self) -> None:
        assert all(len(tokens) == 1 for tokens in self.granted.values())
        for capture in self.api.list():
            if capture.status in (CaptureStatus.COMPLETED, CaptureStatus.PUBLISHING):
                assert capture.id in self.granted
            if capture.status is CaptureStatus.COMPLETED:
                assert capture.fault is None
                assert capture.id not in self.stopped

    @invariant()
    def a_task_state_belongs_to_the_one_open_capture(self) -> None:
        open_ = {capture.instance_id: capture.id for capture in self.api.list() if not capture.status.final}
        held = {server.instance.id: server.capture_id for server in self.servers.list() if server.capture_id}
        assert held == open_
        assert all((server.task_state is None) == (server.capture_id is None) for server in self.servers.list())


EXAMPLES = {"sqlite": 40}  # of the others fewer: they decide by the same statements


@pytest.fixture
def fast(kind: str, url: str) -> Iterator[str]:
    """The database of the test, in memory: there are thousands of commits."""
    if kind != "sqlite":
        yield url
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield f"sqlite:///{shutil.copy(url.removeprefix('sqlite:///'), directory)}"


def test_any_order_of_wishes_and_messages(kind: str, fast: str) -> None:
    settings = hypothesis_settings(max_examples=EXAMPLES.get(kind, 8), stateful_step_count=30, deadline=None)
    db = Database(fast)
    run_state_machine_as_test(lambda: Races(db), settings=settings)  # type: ignore[arg-type]
    db.close()
