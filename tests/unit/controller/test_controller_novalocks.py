from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from sqlalchemy import select

from stillframe.controller.captures import Captures
from stillframe.controller.database import Database
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.controller.novalocks import NovaLocks, NovaWatch, reason
from stillframe.controller.reconcile import Reconciler
from stillframe.controller.reservations import DOUBT_SECONDS, MAKING_SECONDS
from stillframe.controller.schema import novalocks
from stillframe.errors.base import StillframeError
from stillframe.errors.nova import NovaFailed, NovaUnreachable
from stillframe.errors.request import InstanceNotFound
from stillframe.model import CaptureStatus, Instance, now
from stillframe.nova.servers import Standing
from tests.unit.controller.scene import OPTIONS, Bells, ended, instance, inventory, request, told
from tests.unit.controller.test_controller_reconcile import Clock


@dataclass
class Nova:
    """Nova's servers, as they are in the memory of this test."""

    servers: dict[str, Standing] = field(default_factory=dict)
    away: StillframeError | None = None
    unlocked: list[str] = field(default_factory=list)

    def standing(self, server_id: str) -> Standing:
        if self.away is not None:
            raise self.away
        if server_id not in self.servers:
            raise InstanceNotFound(instance=server_id)
        return self.servers[server_id]

    def unlock(self, server_id: str) -> None:
        self.unlocked.append(server_id)
        self.servers[server_id] = Standing("active")

    def lock(self, server_id: str, words: str) -> None:
        self.servers[server_id] = Standing("active", locked=True, locked_reason=words)


@pytest.fixture
def web(endpoint: ControllerEndpoint) -> Instance:
    web = instance()
    endpoint.heartbeat(inventory(web, host="one"))
    return web


@pytest.fixture
def nova(web: Instance) -> Nova:
    return Nova({web.id: Standing("active")})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def locks(db: Database, nova: Nova, clock: Clock) -> NovaLocks:
    return NovaLocks(db, nova, clock)


@pytest.fixture
def watch(db: Database, nova: Nova, bells: Bells) -> NovaWatch:
    return NovaWatch(db, nova, bells)


def accept(captures: Captures, of: Instance) -> str:
    return captures.accept(request(of, lock=True)).id


def locked(captures: Captures, of: Instance, nova: Nova) -> str:
    capture_id = accept(captures, of)
    nova.lock(of.id, reason(capture_id))
    captures.reserved(capture_id)
    return capture_id


def held(db: Database) -> list[str]:
    return list(db.read(lambda connection: connection.scalars(select(novalocks.c.capture_id)).all()))


def test_no_agent_hears_of_a_capture_before_its_server_is_locked(
    captures: Captures, endpoint: ControllerEndpoint, web: Instance, bells: Bells, nova: Nova
) -> None:
    capture_id = accept(captures, web)
    assert (bells.rung, told(endpoint).orders) == ([], ())
    captures.reserved(capture_id)
    assert bells.rung == ["one"]
    assert [order.capture_id for order in told(endpoint).orders] == [capture_id]


def test_the_lock_goes_with_the_end_of_the_capture(
    captures: Captures, endpoint: ControllerEndpoint, web: Instance, nova: Nova, locks: NovaLocks, db: Database
) -> None:
    capture_id = locked(captures, web, nova)
    token = endpoint.begin(capture_id, "one", "run-1")
    locks.run_once(now())
    assert (nova.unlocked, held(db)) == ([], [capture_id])
    endpoint.commit(capture_id, token)
    told(endpoint, ended(capture_id, token))
    locks.run_once(now())
    assert (nova.unlocked, held(db)) == ([web.id], [])


@pytest.mark.parametrize(
    "standing",
    [Standing("active"), Standing("active", locked=True, locked_reason="maintenance"), Standing("active", locked=True)],
    ids=["unlocked", "another's", "nobody's"],
)
def test_only_our_own_lock_is_taken_off(
    captures: Captures, web: Instance, nova: Nova, locks: NovaLocks, db: Database, standing: Standing
) -> None:
    captures.cancel(locked(captures, web, nova), None)
    nova.servers[web.id] = standing
    locks.run_once(now())
    assert (nova.unlocked, held(db), nova.servers[web.id]) == ([], [], standing)


def test_a_lock_of_the_next_capture_stays(
    captures: Captures, web: Instance, nova: Nova, locks: NovaLocks, db: Database
) -> None:
    captures.cancel(locked(captures, web, nova), None)
    second = locked(captures, web, nova)
    locks.run_once(now())
    assert (nova.unlocked, held(db)) == ([], [second])


def test_a_server_that_is_gone_needs_no_unlocking(
    captures: Captures, web: Instance, nova: Nova, locks: NovaLocks, db: Database
) -> None:
    captures.cancel(locked(captures, web, nova), None)
    nova.servers.clear()
    locks.run_once(now())
    assert held(db) == []


def test_while_nova_is_away_the_lease_stays(
    captures: Captures, web: Instance, nova: Nova, locks: NovaLocks, db: Database
) -> None:
    capture_id = locked(captures, web, nova)
    captures.cancel(capture_id, None)
    nova.away = NovaUnreachable(reason="x")
    locks.run_once(now())
    assert held(db) == [capture_id]
    nova.away = None
    locks.run_once(now())
    assert (nova.unlocked, held(db)) == ([web.id], [])


def test_a_lock_that_was_not_answered_for_is_looked_for_again(
    captures: Captures, web: Instance, nova: Nova, locks: NovaLocks, db: Database, clock: Clock
) -> None:
    capture_id = accept(captures, web)
    captures.fail(capture_id, NovaUnreachable(reason="x").fault)
    locks.run_once(now())
    assert held(db) == [capture_id]
    nova.lock(web.id, reason(capture_id))  # late
    locks.run_once(now())
    assert (nova.unlocked, held(db)) == ([web.id], [capture_id])
    clock.seconds += DOUBT_SECONDS
    locks.run_once(now())
    assert held(db) == []


def test_a_capture_whose_lock_nobody_makes_any_more_ends(
    captures: Captures, web: Instance, nova: Nova, locks: NovaLocks, clock: Clock
) -> None:
    capture_id = accept(captures, web)
    locks.run_once(now())
    clock.seconds += MAKING_SECONDS - 1
    locks.run_once(now())
    assert captures.get(capture_id, None).status == CaptureStatus.PENDING
    clock.seconds += 1
    locks.run_once(now())
    failed = captures.get(capture_id, None)
    assert (failed.status, failed.fault and failed.fault.code) == (CaptureStatus.FAILED, "lock-not-made")


def test_a_capture_with_a_lock_is_not_forgotten(
    captures: Captures, web: Instance, nova: Nova, locks: NovaLocks, db: Database, bells: Bells
) -> None:
    captures.cancel(locked(captures, web, nova), None)
    reconciler = Reconciler(db, replace(OPTIONS, keep_finished=0), bells)
    assert reconciler.run_once(now()).captures_pruned == 0
    locks.run_once(now())
    assert reconciler.run_once(now()).captures_pruned == 1


@pytest.mark.parametrize("task", ["migrating", "resize_prep", "suspending", "deleting"])
def test_a_capture_is_given_up_when_nova_begins_something(
    captures: Captures,
    endpoint: ControllerEndpoint,
    web: Instance,
    nova: Nova,
    watch: NovaWatch,
    bells: Bells,
    task: str,
) -> None:
    capture_id = locked(captures, web, nova)
    endpoint.begin(capture_id, "one", "run-1")
    bells.rung.clear()
    watch.run_once(now())
    assert captures.get(capture_id, None).cancel is None
    nova.servers[web.id] = replace(nova.servers[web.id], task_state=task)
    watch.run_once(now())
    cancel = captures.get(capture_id, None).cancel
    assert cancel is not None
    assert (cancel.code, bells.rung) == ("nova-interferes", ["one"])
    assert task in cancel.message
    watch.run_once(now())
    assert bells.rung == ["one"]


def test_a_capture_that_publishes_is_not_given_up(
    captures: Captures, endpoint: ControllerEndpoint, web: Instance, nova: Nova, watch: NovaWatch
) -> None:
    capture_id = locked(captures, web, nova)
    endpoint.commit(capture_id, endpoint.begin(capture_id, "one", "run-1"))
    nova.servers[web.id] = Standing("active", task_state="migrating")
    watch.run_once(now())
    assert captures.get(capture_id, None).cancel is None


def test_a_server_that_nova_deleted_ends_its_capture(
    captures: Captures, web: Instance, nova: Nova, watch: NovaWatch
) -> None:
    capture_id = locked(captures, web, nova)
    nova.servers.clear()
    watch.run_once(now())
    fault = captures.get(capture_id, None).fault
    assert fault is not None
    assert fault.code == "instance-gone"


@pytest.mark.parametrize("away", [NovaUnreachable(reason="x"), NovaFailed(what="x", answer=500)])
def test_a_nova_that_cannot_be_asked_ends_nothing(
    captures: Captures, web: Instance, nova: Nova, watch: NovaWatch, away: StillframeError
) -> None:
    capture_id = locked(captures, web, nova)
    nova.away = away
    if isinstance(away, NovaUnreachable):
        with pytest.raises(NovaUnreachable):
            watch.run_once(now())
    else:
        watch.run_once(now())
    assert captures.get(capture_id, None).status == CaptureStatus.PENDING
