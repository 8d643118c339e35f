from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from stillframe.config import Controller
from stillframe.controller import backends
from stillframe.controller.captures import Captures
from stillframe.controller.database import Database
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.controller.hosts import Hosts
from stillframe.controller.reconcile import PUBLISHING_PATIENCE, Reconciler
from stillframe.controller.schema import claims
from stillframe.controller.servers import Servers
from stillframe.errors.base import StillframeError
from stillframe.errors.capture import Superseded
from stillframe.errors.request import CaptureNotFound, InstanceNotFound
from stillframe.model import CaptureStatus, Instance, Phase, now
from tests.unit.controller.scene import Bells, ended, instance, inventory, report, request, told


class Clock:
    """A monotonic clock that stands still until it is told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reconciler(db: Database, settings: Controller, bells: Bells, clock: Clock) -> Reconciler:
    return Reconciler(db, settings, bells, clock)


@pytest.fixture
def web(endpoint: ControllerEndpoint) -> Instance:
    web = instance()
    endpoint.heartbeat(inventory(web))
    return web


def test_the_captures_of_a_lost_host_fail_and_its_servers_stay(
    captures: Captures,
    servers: Servers,
    endpoint: ControllerEndpoint,
    reconciler: Reconciler,
    clock: Clock,
    settings: Controller,
) -> None:
    web, mail = instance(), instance()
    endpoint.heartbeat(inventory(web, mail))
    pending, running = captures.accept(request(web)).id, captures.accept(request(mail)).id
    token = endpoint.begin(running, "one", "run-1")
    reconciler.run_once(now())
    clock.seconds = settings.host_timeout
    found = reconciler.run_once(now())
    assert found.hosts_lost == ("one",)
    assert set(found.captures_ended) == {pending, running}
    for id_ in (pending, running):
        fault = captures.get(id_, None).fault
        assert fault is not None
        assert fault.code == "host-unreachable"
    assert [server.task_state for server in servers.list()] == [None, None]
    with pytest.raises(Superseded, match="failed"):
        endpoint.commit(running, token)
    orders = told(endpoint, report(running, token, Phase.TRANSFERRING))
    assert orders.orders == ()
    assert captures.get(running, None).status is CaptureStatus.FAILED
    assert reconciler.run_once(now()).hosts_lost == ()


def test_a_host_that_reports_is_not_lost_whatever_the_wall_clock_does(
    captures: Captures,
    endpoint: ControllerEndpoint,
    reconciler: Reconciler,
    clock: Clock,
    settings: Controller,
    web: Instance,
) -> None:
    captures.accept(request(web))
    for jump in (timedelta(), timedelta(hours=5), timedelta(hours=-5), timedelta()):
        clock.seconds += settings.host_timeout - 1
        told(endpoint)
        assert reconciler.run_once(now() + jump).hosts_lost == ()
    assert captures.counts()[CaptureStatus.PENDING] == 1


def test_a_controller_that_was_down_first_listens(
    db: Database, settings: Controller, bells: Bells, web: Instance
) -> None:
    late = Clock()
    late.seconds = 1e6
    restarted = Reconciler(db, settings, bells, late)
    assert restarted.run_once(now()).hosts_lost == ()


def test_a_capture_accepted_for_a_host_already_lost_fails_too(
    captures: Captures, reconciler: Reconciler, clock: Clock, settings: Controller, web: Instance
) -> None:
    reconciler.run_once(now())
    clock.seconds = settings.host_timeout
    reconciler.run_once(now())
    id_ = captures.accept(request(web)).id
    assert reconciler.run_once(now()).captures_ended == (id_,)


def test_a_publication_on_a_lost_host_is_given_longer(
    captures: Captures,
    endpoint: ControllerEndpoint,
    reconciler: Reconciler,
    clock: Clock,
    settings: Controller,
    web: Instance,
) -> None:
    id_ = captures.accept(request(web)).id
    endpoint.commit(id_, endpoint.begin(id_, "one", "run-1"))
    reconciler.run_once(now())
    clock.seconds = settings.host_timeout
    assert reconciler.run_once(now()).captures_ended == ()
    clock.seconds = settings.host_timeout * PUBLISHING_PATIENCE
    assert reconciler.run_once(now()).captures_ended == (id_,)
    fault = captures.get(id_, None).fault
    assert fault is not None
    assert fault.code == "publication-unknown"


def test_hosts_are_listed(endpoint: ControllerEndpoint, db: Database, web: Instance) -> None:
    told(endpoint, host="two", run="run-2")
    assert [(host.name, host.agent_run) for host in Hosts(db).list()] == [("one", "run-1"), ("two", "run-2")]


def test_an_instance_gone_for_too_long_is_removed_and_its_pending_capture_ends(
    captures: Captures,
    servers: Servers,
    endpoint: ControllerEndpoint,
    reconciler: Reconciler,
    clock: Clock,
    settings: Controller,
    web: Instance,
) -> None:
    id_ = captures.accept(request(web)).id
    endpoint.heartbeat(inventory())
    reconciler.run_once(now())
    clock.seconds = settings.gone_grace
    told(endpoint)
    assert reconciler.run_once(now()).instances_gone == (web.id,)
    with pytest.raises(InstanceNotFound):
        servers.get(web.id, None)
    capture = captures.get(id_, "blue")
    assert (capture.status, capture.fault and capture.fault.code) == (CaptureStatus.FAILED, "instance-gone")


def test_a_running_capture_of_a_gone_instance_is_stopped_before_the_server_goes(
    captures: Captures,
    servers: Servers,
    endpoint: ControllerEndpoint,
    reconciler: Reconciler,
    clock: Clock,
    settings: Controller,
    web: Instance,
    bells: Bells,
) -> None:
    id_ = captures.accept(request(web)).id
    token = endpoint.begin(id_, "one", "run-1")
    endpoint.heartbeat(inventory())
    reconciler.run_once(now())
    clock.seconds = settings.gone_grace
    (order,) = told(endpoint, report(id_, token, Phase.TRANSFERRING)).orders
    assert reconciler.run_once(now()).instances_gone == ()
    (order,) = told(endpoint, report(id_, token, Phase.TRANSFERRING)).orders
    assert order.cancel is not None
    assert order.cancel.code == "instance-gone"
    assert bells.rung == ["one", "one"]
    with pytest.raises(Superseded):
        endpoint.commit(id_, token)
    told(endpoint, ended(id_, token, order.cancel))
    assert reconciler.run_once(now()).instances_gone == (web.id,)
    assert captures.get(id_, None).status is CaptureStatus.FAILED
    assert servers.list() == []


def test_what_a_controller_dies_at_is_done_by_another_within_seconds(
    captures: Captures, endpoint: ControllerEndpoint, db: Database, settings: Controller, web: Instance
) -> None:
    """Its claim is over by then: seen while it works."""
    left: list[timedelta] = []

    class Looking(Bells):
        def wake(self, host: str) -> None:
            until, clock = db.read(
                lambda connection: connection.execute(select(claims.c.until, backends.clock())).one()
            )
            left.append(until - clock)

    captures.accept(request(web))
    endpoint.heartbeat(inventory())
    Reconciler(db, replace(settings, gone_grace=0), Looking()).run_once(now())
    assert timedelta(0) < left[0] <= timedelta(seconds=10)


@pytest.mark.parametrize("turn", range(10))
def test_of_commit_cancel_and_deletion_at_once_exactly_one_wins(
    captures: Captures, endpoint: ControllerEndpoint, db: Database, settings: Controller, web: Instance, turn: int
) -> None:
    id_ = captures.accept(request(web)).id
    token = endpoint.begin(id_, "one", "run-1")
    endpoint.heartbeat(replace(inventory(), captures=(report(id_, token, Phase.HELD),)))
    deleting = Reconciler(db, replace(settings, gone_grace=0), Bells())
    granted: list[str] = []
    barrier = threading.Barrier(3)

    def commit() -> None:
        barrier.wait(30)
        try:
            endpoint.commit(id_, token)
            granted.append("commit")
        except StillframeError:
            pass

    def cancel() -> None:
        barrier.wait(30)
        try:
            cancelled = captures.cancel(id_, None)
            assert cancelled.cancel is not None
            granted.append(cancelled.cancel.code)
        except StillframeError:
            pass

    def delete() -> None:
        barrier.wait(30)
        deleting.run_once(now())

    works = [commit, cancel, delete]
    threads = [threading.Thread(target=works[(turn + index) % 3]) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    capture = captures.get(id_, None)
    won = "commit" if capture.status is CaptureStatus.PUBLISHING else capture.cancel and capture.cancel.code
    assert ("commit" in granted) == (won == "commit")
    assert won in ("commit", "cancelled", "instance-gone")
    assert "commit" not in granted or "cancelled" not in granted


def test_old_captures_are_forgotten_but_not_open_ones(
    captures: Captures, endpoint: ControllerEndpoint, reconciler: Reconciler, settings: Controller
) -> None:
    web, mail = instance(), instance()
    endpoint.heartbeat(inventory(web, mail))
    old, open_ = captures.accept(request(web)).id, captures.accept(request(mail)).id
    captures.cancel(old, None)
    assert reconciler.run_once(now()).captures_pruned == 0
    later = now() + timedelta(days=settings.keep_finished, seconds=1)
    assert reconciler.run_once(later).captures_pruned == 1
    with pytest.raises(CaptureNotFound):
        captures.get(old, None)
    assert captures.get(open_, None).status is CaptureStatus.PENDING


def test_a_backup_that_rotation_still_counts_is_not_forgotten(
    captures: Captures, endpoint: ControllerEndpoint, reconciler: Reconciler, settings: Controller, web: Instance
) -> None:
    id_ = captures.accept(request(web, kind="backup", backup_type="daily", rotation=1)).id
    token = endpoint.begin(id_, "one", "run-1")
    endpoint.commit(id_, token)
    told(endpoint, ended(id_, token))
    later = now() + timedelta(days=settings.keep_finished, seconds=1)
    assert reconciler.run_once(later).captures_pruned == 0
