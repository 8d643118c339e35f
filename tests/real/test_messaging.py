"""Calls, wakes and notifications over a real RabbitMQ, with the broker there, killed, hanging, and back."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import oslo_messaging
import pytest

from lab.rabbitmq import RabbitMq
from lab.wait import until
from stillframe import config
from stillframe.errors.base import Reported
from stillframe.errors.capture import Superseded
from stillframe.errors.service import ConfigInvalid, ControllerUnreachable
from stillframe.messaging import bells, remote
from stillframe.messaging.bus import EXCHANGE, Bus, Target, notification_transport
from stillframe.messaging.contract import HostReport, Orders
from stillframe.messaging.notices import Event, Notice
from stillframe.messaging.notifying import Notifying
from stillframe.model import Fault, Instance, PowerState, VmState, now
from tests.real import live_tools as live

pytestmark = pytest.mark.cloud  # make test-cloud

TIMEOUT = 2.0
REPORT = HostReport("one", "run-1")
INSTANCE = Instance(str(uuid.uuid4()), "db", "db", VmState.ACTIVE, PowerState.RUNNING)


@pytest.fixture(scope="module")
def broker() -> Iterator[RabbitMq]:
    with live.directory() as path, RabbitMq(path / "rabbitmq") as made:
        yield made


@dataclass
class Controller:
    """A controller that remembers, and may be slow."""

    name: str
    reports: list[HostReport] = field(default_factory=list)
    slow: threading.Event = field(default_factory=threading.Event)

    def heartbeat(self, report: HostReport) -> Orders:
        self.reports.append(report)
        if report.inventory_digest == "slow":
            self.slow.wait(30)
        return Orders(recorded=(self.name,))

    def begin(self, capture_id: str, host: str, agent_run: str) -> str:
        return f"{capture_id} {host} {agent_run}"

    def commit(self, capture_id: str, attempt: str) -> None:
        raise Superseded(reason=f"{capture_id} was given up", operator=attempt)

    def stand_still(self, capture_id: str, attempt: str) -> bool:
        return attempt == "of taken snapshots"


@dataclass(frozen=True)
class Both:
    """Two controllers and an agent, on one broker."""

    one: Controller
    two: Controller
    agent: remote.RemoteController
    bus: Bus


@pytest.fixture
def both(broker: RabbitMq) -> Iterator[Both]:
    buses = [bus_of(broker) for _ in range(3)]
    controllers = [Controller("c1"), Controller("c2")]
    stops = [remote.serve(bus, each, each.name) for bus, each in zip(buses, controllers, strict=False)]
    made = Both(controllers[0], controllers[1], remote.RemoteController(buses[2], TIMEOUT), buses[2])
    answering(made, {"c1", "c2"})
    yield made
    for each in controllers:
        each.slow.set()
    for end in (*stops, *(bus.close for bus in buses)):
        end()


def bus_of(broker: RabbitMq) -> Bus:
    return Bus(broker.url, config.load(files=[]).oslo)


def answering(both: Both, names: set[str], deadline: float = 30) -> None:
    """Waits until all of these answer."""
    heard: set[str] = set()

    def all_heard() -> bool:
        try:
            heard.update(both.agent.heartbeat(REPORT).recorded)
        except ControllerUnreachable:
            heard.clear()
        return heard >= names

    until(all_heard, deadline, f"{names} to answer")


def woken(ringing: bells.Bells, rung: threading.Event) -> bool:
    """Whether a wake is heard within a moment."""
    ringing.wake("one")
    return rung.wait(0.2)


def test_a_call_is_answered_by_any_controller_and_a_refusal_comes_with_all_its_words(both: Both) -> None:
    assert both.agent.begin("c", "h", "r") == "c h r"
    with pytest.raises(Reported) as refused:
        both.agent.commit("c", "token")
    assert refused.value.fault == Superseded(reason="c was given up", operator="token").fault
    before = len(both.one.reports) + len(both.two.reports)
    for _ in range(10):
        both.agent.heartbeat(REPORT)
    assert len(both.one.reports) + len(both.two.reports) == before + 10  # each by one, and once
    assert both.one.reports[-1] == both.two.reports[-1] == REPORT


def test_a_call_of_an_older_or_a_newer_neighbour(both: Both) -> None:
    def call(version: str, **arguments: Any) -> Any:
        target = Target(exchange=EXCHANGE, topic=remote.TOPIC, version=version)
        return both.bus.call(target, "heartbeat", arguments, TIMEOUT)

    newer: dict[str, Any] = {"host": "one", "agent_run": "run-1", "colour": "blue", "captures": [], "inventory": None}
    assert set(call("1.0", report=newer)) == {"value"}
    with pytest.raises(ControllerUnreachable, match="not understood"):
        call("1.99", report=newer)
    with pytest.raises(ControllerUnreachable, match="not understood"):
        call("2.0", report=newer)
    assert call("1.0", report={"host": "one"})["fault"]["code"] == "internal"  # what no release ever sent


def test_an_answer_that_does_not_come_is_an_error_at_the_deadline_and_harms_no_later_call(both: Both) -> None:
    began = time.monotonic()
    with pytest.raises(ControllerUnreachable, match="no answer within 2 seconds"):
        both.agent.heartbeat(HostReport("one", "run-1", inventory_digest="slow"))
    assert time.monotonic() - began < TIMEOUT + 1
    answering(both, {"c1", "c2"})


@pytest.mark.parametrize("hangs", [False, True], ids=["killed", "hanging"])
def test_a_broker_that_is_away_is_an_error_within_the_deadline_until_it_is_back(
    hangs: bool, both: Both, broker: RabbitMq
) -> None:
    rung = threading.Event()
    stop = bells.listen(both.bus, "one", rung)
    ringing = bells.Bells(both.bus)
    until(lambda: woken(ringing, rung), 30, "the first wake")
    (broker.freeze if hangs else broker.kill)()
    for _ in range(3):
        began = time.monotonic()
        ringing.wake("one")
        assert time.monotonic() - began < 0.1
        with pytest.raises(ControllerUnreachable):
            both.agent.heartbeat(REPORT)
        assert time.monotonic() - began < TIMEOUT + 1
    (broker.thaw if hangs else broker.start)()
    answering(both, {"c1", "c2"})
    rung.clear()
    until(lambda: woken(ringing, rung), 30, "a wake after it is back")
    ringing.close()
    stop()


def test_a_broker_that_is_away_from_the_start_keeps_nobody_waiting(broker: RabbitMq) -> None:
    broker.kill()
    bus = bus_of(broker)
    agent = remote.RemoteController(bus, TIMEOUT)
    stop = remote.serve(bus, Controller("c3"), "c3")
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(ControllerUnreachable):
            agent.heartbeat(REPORT)
        assert time.monotonic() - began < TIMEOUT + 1
    broker.start()
    answering(Both(Controller(""), Controller(""), agent, bus), {"c3"})
    stop()
    bus.close()


@pytest.mark.parametrize("url", [None, "", "rabbit://me:hush/hush@here:1/", "weather://me:hush@here/"])
def test_a_url_that_cannot_be_used_is_refused_without_a_word_of_its_password(url: str | None) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        Bus(url, config.load(files=[]).oslo)
    assert "hush" not in f"{refused.value} {refused.value.__cause__}"


# ------------------------------------------------------------------------------------------------- notifications


@dataclass
class Listener:
    """What listens to Nova's notifications hears."""

    heard: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = field(default_factory=list)

    def info(self, _context: Any, _publisher: str, event: str, payload: Any, metadata: Any) -> None:
        self.heard.append(("info", event, payload, metadata))

    def error(self, _context: Any, _publisher: str, event: str, payload: Any, metadata: Any) -> None:
        self.heard.append(("error", event, payload, metadata))


@pytest.fixture
def listener(broker: RabbitMq) -> Iterator[Listener]:
    made = Listener()
    transport = notification_transport(broker.url, config.load(files=[]).oslo)
    targets = [Target(topic=topic) for topic in ("versioned_notifications", "notifications")]
    server = oslo_messaging.get_notification_listener(transport, targets, [made], executor="threading")
    server.start()
    yield made
    server.stop()
    server.wait()
    transport.cleanup()


def notice(event: Event, fault: Fault | None = None) -> Notice:
    return Notice(event, now(), str(uuid.uuid4()), INSTANCE.id, "one", "req-1", "blue", "ann", INSTANCE, fault=fault)


def notifying(broker: RabbitMq, form: str = "both") -> Notifying:
    return Notifying(config.Notifications("messaging", form, broker.url), config.load(files=[]).oslo)


def test_listeners_to_novas_notifications_hear_of_captures(broker: RabbitMq, listener: Listener) -> None:
    notifier = notifying(broker)
    start, end = notice(Event.START), notice(Event.END)
    error = notice(Event.ERROR, Superseded(reason="no").fault)
    for each in (start, end, error):
        notifier.tell(each)
    until(lambda: len(listener.heard) >= 5, 30, "five notifications")
    events = sorted((level, event) for level, event, _, _ in listener.heard)
    assert events == [
        ("error", "instance.snapshot.error"),
        ("info", "compute.instance.snapshot.end"),
        ("info", "compute.instance.snapshot.start"),
        ("info", "instance.snapshot.end"),
        ("info", "instance.snapshot.start"),
    ]
    images = {
        payload["nova_object.data"]["snapshot_image_id"]
        for _, event, payload, _ in listener.heard
        if event.startswith("instance.")
    }
    assert images == {each.image_id for each in (start, end, error)}
    notifier.close()


def test_a_notice_that_cannot_be_sent_raises_and_told_twice_it_is_known_by_its_id(
    broker: RabbitMq, listener: Listener
) -> None:
    notifier = notifying(broker, "versioned")
    told = notice(Event.END)
    notifier.tell(told)
    broker.kill()
    with pytest.raises(ControllerUnreachable):
        notifier.tell(told)
    broker.start()

    def sent() -> bool:
        try:
            notifier.tell(told)
        except ControllerUnreachable:
            return False
        return True

    until(sent, 30, "the notice to be sent")
    until(lambda: len(listener.heard) > 1, 30, "the notice to be heard again")
    assert len({metadata["message_id"] for *_, metadata in listener.heard}) == 1
    notifier.close()
