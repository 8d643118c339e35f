"""Several of each part over PostgreSQL and MariaDB: one of them dies, the database dies, a host is cut off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab import captures
from lab.cloud import Agent, Cloud
from lab.libvirtd import PrivateLibvirtd
from lab.mariadb import MariaDb
from lab.network import HERE, Network
from lab.postgres import Postgres
from lab.service import Options
from lab.wait import until
from tests.real import live_tools as live
from tests.real.live_tools import SLOWLY, Writing

pytestmark = pytest.mark.cloud  # make test-cloud

HOST_TIMEOUT = 12  # seconds of silence after which a host is lost
OPTIONS: Options = {"agent": {"heartbeat": 2}, "controller": {"host_timeout": HOST_TIMEOUT}}
Server = Postgres | MariaDb


@pytest.fixture(scope="module")
def hosts(libvirtd: PrivateLibvirtd) -> Iterator[list[PrivateLibvirtd]]:
    with live.directory() as path, ExitStack() as stack:
        yield [libvirtd, *(stack.enter_context(PrivateLibvirtd(path / f"host{n}")) for n in (1, 2))]


@pytest.fixture(scope="module")
def guests(hosts: list[PrivateLibvirtd]) -> Iterator[list[Writing]]:
    """One on each host."""
    with ExitStack() as stack:
        yield [stack.enter_context(live.writing(host))[0] for host in hosts]


@pytest.fixture(scope="module", params=[Postgres, MariaDb])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    made: Callable[[Path], Server] = request.param
    with live.directory() as path, made(path / "database") as running:
        yield running


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network() as laid:
        yield laid


@pytest.fixture(scope="module")
def cloud(hosts: list[PrivateLibvirtd], guests: list[Writing], server: Server, network: Network) -> Iterator[Cloud]:
    """Two apis, two controllers, three agents, the first of them at the end of a cable."""
    with live.directory() as path:
        made = Cloud(
            path / "cloud", hosts, OPTIONS,
            apis=2, controllers=2, database=server.create("stillframe"), broker=HERE,
        )  # fmt: skip
        made.agents[0].within = network.within
        with made:
            for each in guests:
                captures.known(made.api, each.guest)
            yield made


@pytest.fixture
def agent(cloud: Cloud, network: Network) -> Iterator[Agent]:
    """The first host's; in the end all parts run."""
    yield cloud.agents[0]
    network.mend()
    cloud.repair()


@pytest.fixture
def writer(guests: list[Writing]) -> Iterator[Writing]:
    yield guests[0]
    guests[0].unharmed()


def test_each_api_and_each_host_does_its_part(cloud: Cloud, guests: list[Writing], tmp: Path) -> None:
    asked = [captures.begin(cloud.apis[n % 2], each.guest, bandwidth=SLOWLY) for n, each in enumerate(guests)]
    for number, (agent, each, capture) in enumerate(zip(cloud.agents, guests, asked, strict=True)):
        shown = captures.completed(cloud.apis[1], capture)
        assert (shown["host"], shown["attempt"]) == (f"host{number}", 1)
        assert captures.published(agent) == [f"{capture}.json", f"{capture}.raw"]
        each.saved(agent, shown, tmp / f"plain{number}")
        live.tidy(agent, each.guest)
        each.unharmed()


@pytest.mark.parametrize("dead", [0, 1])
def test_one_controller_that_is_killed_is_not_missed(
    cloud: Cloud, agent: Agent, writer: Writing, tmp: Path, dead: int
) -> None:
    capture = captures.begin(cloud.api, writer.guest, bandwidth=SLOWLY)
    captures.moving(cloud.api, capture)

    cloud.controllers[dead].kill()

    shown = captures.completed(cloud.api, capture)
    assert shown["attempt"] == 1
    writer.saved(agent, shown, tmp / "plain")
    live.tidy(agent, writer.guest)


def test_one_api_that_is_killed_is_not_missed(cloud: Cloud, agent: Agent, writer: Writing, tmp: Path) -> None:
    capture = captures.begin(cloud.apis[1], writer.guest, bandwidth=SLOWLY)
    cloud.apis[1].kill()
    writer.saved(agent, captures.completed(cloud.apis[0], capture), tmp / "plain")
    live.tidy(agent, writer.guest)


def test_a_database_that_is_killed_while_bytes_move_is_not_noticed_by_the_capture(
    cloud: Cloud, agent: Agent, writer: Writing, server: Server, tmp: Path
) -> None:
    capture = captures.begin(cloud.api, writer.guest, bandwidth=SLOWLY)
    before = captures.moving(cloud.api, capture)

    server.restart()

    shown = captures.completed(cloud.api, capture)
    assert (shown["captured_at"], shown["attempt"]) == (before["captured_at"], 1)
    writer.saved(agent, shown, tmp / "plain")
    live.tidy(agent, writer.guest)


def test_a_commit_is_asked_for_until_the_database_is_back(
    cloud: Cloud, agent: Agent, writer: Writing, server: Server, tmp: Path
) -> None:
    capture = captures.begin(cloud.api, writer.guest, bandwidth=SLOWLY)
    captures.moving(cloud.api, capture)

    def asked() -> None:
        until(lambda: live.asked_for_commit(agent), 60, "commit to be asked for")
        assert [name for name in captures.published(agent) if capture in name] == [f"{capture}.part"]
        assert cloud.api.get(f"/v2.1/captures/{capture}").status == 503

    server.restart(between=asked)

    shown = captures.completed(cloud.api, capture)
    assert shown["attempt"] == 1
    writer.saved(agent, shown, tmp / "plain")
    live.tidy(agent, writer.guest)


def test_a_wish_without_a_database_is_refused_and_leaves_nothing(
    cloud: Cloud, agent: Agent, writer: Writing, server: Server
) -> None:
    wish = {"createImage": {"name": "image"}}

    def refused() -> None:
        answer = cloud.api.request("POST", f"/v2.1/servers/{writer.guest.id}/action", wish)
        assert (answer.status, "conflict" in str(answer.body)) == (503, False)

    before = cloud.api.get("/v2.1/captures").body["captures"]
    server.restart(between=refused)
    captures.known(cloud.api, writer.guest, "ACTIVE")
    assert cloud.api.get("/v2.1/captures").body["captures"] == before
    live.tidy(agent, writer.guest)


@pytest.mark.timeout(300)
def test_a_host_that_is_cut_off_until_it_was_given_up_publishes_nothing(
    cloud: Cloud, agent: Agent, writer: Writing, network: Network, tmp: Path
) -> None:
    capture = captures.begin(cloud.api, writer.guest, bandwidth=SLOWLY)
    captures.moving(cloud.api, capture)

    network.cut()
    shown = captures.failed(cloud.api, capture, "host-unreachable", deadline=HOST_TIMEOUT + 60)
    assert "host0" in shown["fault"]["message"]
    until(lambda: live.asked_for_commit(agent), 60, "commit to be asked for")
    writer.unharmed()
    network.mend()

    until(lambda: not live.kept(agent), 60, "the host to give up what was given up")
    assert [name for name in captures.published(agent) if capture in name] == []
    assert captures.record(cloud.api, capture)["fault"] == shown["fault"]
    captures.known(cloud.api, writer.guest, "ACTIVE")
    live.tidy(agent, writer.guest)
    writer.saved(agent, captures.capture(cloud.api, writer.guest), tmp / "plain")
    live.tidy(agent, writer.guest)


def test_a_host_that_was_cut_off_for_a_moment_goes_on(
    cloud: Cloud, agent: Agent, writer: Writing, network: Network, tmp: Path
) -> None:
    capture = captures.begin(cloud.api, writer.guest, bandwidth=SLOWLY)
    captures.moving(cloud.api, capture)

    network.cut()
    until(lambda: live.asked_for_commit(agent), HOST_TIMEOUT / 2, "commit to be asked for")
    network.mend()

    shown = captures.completed(cloud.api, capture)
    assert shown["attempt"] == 1
    writer.saved(agent, shown, tmp / "plain")
    live.tidy(agent, writer.guest)
