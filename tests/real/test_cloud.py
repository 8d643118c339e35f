"""A cloud of two hosts over a real RabbitMQ: captures on each, and each part away in the middle of one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from lab import captures
from lab.cloud import Agent, BreakableAgent, Cloud, GunicornApi
from lab.faulty import Action, Fault
from lab.libvirtd import PrivateLibvirtd
from lab.rabbitmq import PASSWORD
from lab.service import Options
from lab.wait import until
from stillframe import config
from stillframe.errors.capture import InstanceGone
from stillframe.messaging.bus import Bus
from stillframe.messaging.contract import CaptureReport, HostReport
from stillframe.messaging.remote import RemoteController
from stillframe.model import Phase
from tests.real import live_tools as live
from tests.real.live_tools import SLOWLY, Writing

pytestmark = pytest.mark.cloud  # make test-cloud

HEARTBEAT = 5
OPTIONS: Options = {"agent": {"heartbeat": HEARTBEAT}, "notifications": {"driver": "messaging"}}


@pytest.fixture(scope="module")
def hosts(libvirtd: PrivateLibvirtd) -> Iterator[list[PrivateLibvirtd]]:
    with live.directory() as path, PrivateLibvirtd(path / "host1") as other:
        yield [libvirtd, other]


@pytest.fixture(scope="module")
def guests(hosts: list[PrivateLibvirtd]) -> Iterator[list[Writing]]:
    """One on each host."""
    with ExitStack() as stack:
        yield [stack.enter_context(live.writing(host))[0] for host in hosts]


@pytest.fixture(scope="module")
def cloud(hosts: list[PrivateLibvirtd], guests: list[Writing]) -> Iterator[Cloud]:
    with live.directory() as path, Cloud(path / "cloud", hosts, OPTIONS, agent=BreakableAgent) as made:
        yield made


@pytest.fixture
def agent(cloud: Cloud) -> Iterator[Agent]:
    """The first host's; in the end all parts run."""
    yield cloud.agents[0]
    cloud.repair()


@pytest.fixture
def writer(guests: list[Writing]) -> Iterator[Writing]:
    yield guests[0]
    guests[0].unharmed()


def test_each_host_captures_its_own_instances_side_by_side(cloud: Cloud, guests: list[Writing], tmp: Path) -> None:
    asked = [captures.begin(cloud.api, each.guest, bandwidth=SLOWLY) for each in guests]
    for number, (agent, each, capture) in enumerate(zip(cloud.agents, guests, asked, strict=True)):
        shown = captures.completed(agent, capture)
        assert shown["host"] == f"host{number}"
        assert captures.published(agent) == [f"{capture}.json", f"{capture}.raw"]
        assert each.saved(agent, shown, tmp / f"plain{number}") > 0
        live.tidy(agent, each.guest)
        each.unharmed()


def test_a_broker_that_is_killed_while_bytes_move_is_not_noticed_by_the_capture(
    cloud: Cloud, agent: Agent, writer: Writing, tmp: Path
) -> None:
    capture = captures.begin(agent, writer.guest, bandwidth=SLOWLY)
    before = captures.moving(agent, capture)

    cloud.broker.restart()

    shown = captures.completed(agent, capture)
    assert (shown["captured_at"], shown["attempt"]) == (before["captured_at"], 1)
    writer.saved(agent, shown, tmp / "plain")
    live.tidy(agent, writer.guest)


def test_a_broker_that_is_away_when_a_capture_is_accepted_only_delays_it(
    cloud: Cloud, agent: Agent, writer: Writing, tmp: Path
) -> None:
    cloud.broker.kill()
    capture = captures.begin(agent, writer.guest)
    cloud.broker.start()
    writer.saved(agent, captures.completed(agent, capture), tmp / "plain")
    live.tidy(agent, writer.guest)


def test_a_broker_that_is_killed_while_the_guest_is_frozen(
    cloud: Cloud, agent: Agent, writer: Writing, tmp: Path
) -> None:
    live.hook_agent(writer.guest, freeze="sleep 3")
    said = len(writer.guest.serial())
    capture = captures.begin(agent, writer.guest)
    writer.guest.line("LAB freeze hook", 30, after=said)

    cloud.broker.restart()

    shown = captures.completed(agent, capture)
    assert (shown["attempt"], shown["consistency"]) == (1, "filesystem")
    writer.saved(agent, shown, tmp / "plain")
    live.tidy(agent, writer.guest)


def test_a_commit_is_asked_for_until_the_broker_is_back(cloud: Cloud, agent: Agent, writer: Writing, tmp: Path) -> None:
    capture = captures.begin(agent, writer.guest, bandwidth=SLOWLY)
    captures.moving(agent, capture)

    cloud.broker.kill()
    until(lambda: live.asked_for_commit(agent), 60, "commit to be asked for")
    assert [name for name in captures.published(agent) if capture in name] == [f"{capture}.part"]
    cloud.broker.start()

    shown = captures.completed(agent, capture)
    assert shown["attempt"] == 1
    writer.saved(agent, shown, tmp / "plain")
    live.tidy(agent, writer.guest)


@pytest.mark.parametrize("point", ["image.publish.before", "image.publish.after", "journal.ended.before"])
def test_a_broker_that_is_killed_after_commit_is_not_noticed_by_the_capture(
    point: str, cloud: Cloud, agent: Agent, writer: Writing, tmp: Path
) -> None:
    assert isinstance(agent, BreakableAgent)
    agent.plan.arm(Fault(point, Action.HANG, seconds=3))
    capture = captures.begin(agent, writer.guest)
    until(agent.plan.fired.exists, 60, f"the capture to come to {point}")

    cloud.broker.restart()

    shown = captures.completed(agent, capture)
    assert shown["attempt"] == 1
    found = [name for name in captures.published(agent) if capture in name]
    assert found == [f"{capture}.json", f"{capture}.raw"]
    writer.saved(agent, shown, tmp / "plain")
    live.tidy(agent, writer.guest)


def test_a_broker_that_hangs_is_one_that_is_away(cloud: Cloud, agent: Agent, writer: Writing, tmp: Path) -> None:
    capture = captures.begin(agent, writer.guest, bandwidth=SLOWLY)
    captures.moving(agent, capture)

    cloud.broker.freeze()
    until(lambda: live.asked_for_commit(agent), 60, "commit to be asked for")
    cloud.broker.thaw()

    writer.saved(agent, captures.completed(agent, capture), tmp / "plain")
    live.tidy(agent, writer.guest)


def test_a_controller_that_is_killed_and_comes_back(cloud: Cloud, agent: Agent, writer: Writing, tmp: Path) -> None:
    capture = captures.begin(agent, writer.guest, bandwidth=SLOWLY)
    captures.moving(agent, capture)

    cloud.controllers[0].kill()
    until(lambda: live.asked_for_commit(agent), 60, "commit to be asked for")
    cloud.controllers[0].start()

    shown = captures.completed(agent, capture)
    assert shown["attempt"] == 1
    writer.saved(agent, shown, tmp / "plain")
    live.tidy(agent, writer.guest)


def test_an_agent_that_is_killed_while_the_controller_is_down_goes_on_from_the_same_instant(
    cloud: Cloud, agent: Agent, writer: Writing, tmp: Path
) -> None:
    capture = captures.begin(agent, writer.guest, bandwidth=SLOWLY)
    before = captures.moving(agent, capture)

    cloud.controllers[0].kill()
    agent.kill()
    agent.start()
    cloud.controllers[0].start()

    shown = captures.completed(agent, capture)
    assert (shown["captured_at"], shown["attempt"]) == (before["captured_at"], 2)
    writer.saved(agent, shown, tmp / "plain")
    live.tidy(agent, writer.guest)


def test_a_doubled_and_a_late_heartbeat_change_nothing(cloud: Cloud, agent: Agent, writer: Writing) -> None:
    capture = captures.begin(agent, writer.guest, bandwidth=SLOWLY)
    captures.moving(agent, capture)
    with closing(sqlite3.connect(cloud.database.removeprefix("sqlite:///"))) as db:
        run, sequence = db.execute("SELECT agent_run, sequence FROM hosts WHERE name = 'host0'").fetchone()
    bus = Bus(cloud.broker.url, config.load(files=[]).oslo)
    controller = RemoteController(bus, 10)
    lying = CaptureReport(capture, "", Phase.ENDED, fault=InstanceGone(instance=writer.guest.id, what="was lost").fault)

    late = [controller.heartbeat(HostReport("host0", run, (lying,), "x", (), number)) for number in (1, sequence)]

    assert [[order.capture_id for order in orders.orders] for orders in late] == [[capture]] * 2
    assert captures.completed(agent, capture)["attempt"] == 1
    assert captures.known(agent, writer.guest, "ACTIVE")["OS-EXT-STS:task_state"] is None
    bus.close()
    live.tidy(agent, writer.guest)


def test_a_capture_begins_before_the_next_heartbeat(cloud: Cloud, agent: Agent, writer: Writing) -> None:
    for _ in range(3):
        shown = captures.capture(agent, writer.guest)
        took = datetime.fromisoformat(shown["started_at"]) - datetime.fromisoformat(shown["created_at"])
        assert took.total_seconds() < HEARTBEAT / 2, shown
    live.tidy(agent, writer.guest)


def test_the_api_in_gunicorn(cloud: Cloud, agent: Agent, writer: Writing, tmp: Path) -> None:
    options: Options = {
        "database": {"connection": cloud.database},
        "messaging": {"transport_url": cloud.broker.url},
        "api": {"auth": "none"},  # a socket of gunicorn's tells of no user
    }
    with GunicornApi(tmp / "api", None, options) as api:
        capture = captures.begin(api, writer.guest)
        writer.saved(agent, captures.completed(api, capture), tmp / "plain")
        live.tidy(agent, writer.guest)


def test_who_listens_to_novas_notifications_is_told_of_a_capture(cloud: Cloud, agent: Agent, writer: Writing) -> None:
    shown = captures.capture(agent, writer.guest)
    heard: list[tuple[str, str]] = []

    def both() -> bool:
        told = cloud.broker.taken("versioned_notifications.info")
        heard.extend((each["event_type"], each["payload"]["nova_object.data"]["snapshot_image_id"]) for each in told)
        return ("instance.snapshot.end", shown["id"]) in heard

    until(both, 30, "the end to be told", pause=0.2)
    assert heard.count(("instance.snapshot.start", shown["id"])) == 1
    live.tidy(agent, writer.guest)


@pytest.mark.timeout(300)
def test_what_cannot_be_committed_in_time_fails_and_leaves_nothing_and_no_host_is_blamed(
    hosts: list[PrivateLibvirtd], writer: Writing, tmp: Path
) -> None:
    hasty = {"capture": {"step_deadline": 5}, "controller": {"host_timeout": 8}}
    with Cloud(tmp / "cloud", hosts[:1], hasty) as cloud:
        agent = cloud.agents[0]
        capture = captures.begin(agent, writer.guest, bandwidth=SLOWLY)
        captures.moving(agent, capture)

        cloud.broker.kill()
        until(lambda: live.in_journal(agent, "ended"), 90, "the agent to give up")
        deaf = "hearing: No controller could be asked"
        until(lambda: cloud.controllers[0].log().count(deaf) > 1, 60, "the controller to notice twice")
        assert captures.record(agent, capture)["status"] == "running"
        cloud.broker.start()

        captures.failed(agent, capture, "controller-unreachable")
        live.tidy(agent, writer.guest)


def test_the_brokers_password_is_in_no_log(cloud: Cloud) -> None:
    cloud.broker.restart()
    until(lambda: "impl_rabbit" in cloud.agents[0].log(), 30, "the library to complain")
    said = "".join(part.log() for part in cloud.parts)
    for word in (PASSWORD, quote(PASSWORD, safe=""), PASSWORD.split("%", maxsplit=1)[0]):
        assert word not in said
