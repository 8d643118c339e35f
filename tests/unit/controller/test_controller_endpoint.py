from __future__ import annotations

from dataclasses import replace

import pytest

from stillframe.controller.captures import Captures
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.controller.servers import Servers
from stillframe.errors.capture import CannotFreeze, NoSpace, Superseded
from stillframe.messaging.contract import HostReport, Orders
from stillframe.model import CaptureStatus, Consistency, Instance, Instant, Phase, TaskState, now
from tests.unit.controller.scene import ended, instance, inventory, report, request, told


@pytest.fixture
def web(endpoint: ControllerEndpoint) -> Instance:
    """An instance on host one."""
    web = instance()
    endpoint.heartbeat(inventory(web))
    return web


def test_an_accepted_capture_is_ordered_of_its_own_host_until_it_has_ended(
    captures: Captures, endpoint: ControllerEndpoint, web: Instance
) -> None:
    capture = captures.accept(request(web))
    (order,) = told(endpoint).orders
    assert (order.capture_id, order.instance_id, order.images) == (capture.id, web.id, capture.images)
    assert (order.wishes, order.request_id, order.cancel) == (capture.wishes, capture.request_id, None)
    assert told(endpoint, host="two").orders == ()


def test_only_the_captures_host_may_begin(captures: Captures, endpoint: ControllerEndpoint, web: Instance) -> None:
    id_ = captures.accept(request(web)).id
    with pytest.raises(Superseded, match="another"):
        endpoint.begin(id_, "two", "run-9")
    with pytest.raises(Superseded, match="no such"):
        endpoint.begin(web.id, "one", "run-1")


def test_a_new_attempt_takes_everything_from_the_one_before(
    captures: Captures, servers: Servers, endpoint: ControllerEndpoint, web: Instance
) -> None:
    id_ = captures.accept(request(web)).id
    first = endpoint.begin(id_, "one", "run-1")
    second = endpoint.begin(id_, "one", "run-2")
    told(endpoint, report(id_, first, Phase.TRANSFERRING), run="run-2")
    told(endpoint, ended(id_, first), run="run-2")
    with pytest.raises(Superseded):
        endpoint.commit(id_, first)
    assert (captures.get(id_, None).attempt, captures.get(id_, None).status) == (2, CaptureStatus.RUNNING)
    assert servers.get(web.id, None).task_state is TaskState.IMAGE_SNAPSHOT_PENDING
    endpoint.commit(id_, second)
    with pytest.raises(Superseded):
        endpoint.commit(id_, first)
    assert captures.get(id_, None).status is CaptureStatus.PUBLISHING


def test_a_begin_that_is_asked_again_is_the_same_attempt_until_it_may_not_begin_any_more(
    captures: Captures, endpoint: ControllerEndpoint, web: Instance
) -> None:
    id_ = captures.accept(request(web)).id
    token = endpoint.begin(id_, "one", "run-1")
    assert endpoint.begin(id_, "one", "run-1") == token
    assert captures.get(id_, None).attempt == 1
    captures.cancel(id_, None)
    with pytest.raises(Superseded, match="to stop"):
        endpoint.begin(id_, "one", "run-1")


def test_a_commit_that_was_granted_stays_granted(
    captures: Captures, endpoint: ControllerEndpoint, web: Instance
) -> None:
    id_ = captures.accept(request(web)).id
    token = endpoint.begin(id_, "one", "run-1")
    endpoint.commit(id_, token)
    endpoint.commit(id_, token)
    with pytest.raises(Superseded, match="published"):
        endpoint.begin(id_, "one", "run-1")
    told(endpoint, ended(id_, token))
    endpoint.commit(id_, token)
    assert captures.get(id_, None).status is CaptureStatus.COMPLETED


def test_a_publication_that_fails_is_a_failure(captures: Captures, endpoint: ControllerEndpoint, web: Instance) -> None:
    id_ = captures.accept(request(web)).id
    token = endpoint.begin(id_, "one", "run-1")
    endpoint.commit(id_, token)
    fault = NoSpace(what="store", needed=2, free=1).fault
    assert told(endpoint, ended(id_, token, fault)).recorded == (id_,)
    assert (captures.get(id_, None).status, captures.get(id_, None).fault) == (CaptureStatus.FAILED, fault)
    with pytest.raises(Superseded, match="failed"):
        endpoint.commit(id_, token)


def test_an_end_without_a_commit_is_no_success(captures: Captures, endpoint: ControllerEndpoint, web: Instance) -> None:
    id_ = captures.accept(request(web)).id
    token = endpoint.begin(id_, "one", "run-1")
    told(endpoint, ended(id_, token))
    assert captures.get(id_, None).status is CaptureStatus.FAILED


def test_an_agent_that_forgot_what_it_was_publishing_ends_it_as_unknown(
    captures: Captures, servers: Servers, endpoint: ControllerEndpoint, web: Instance
) -> None:
    id_ = captures.accept(request(web)).id
    endpoint.commit(id_, endpoint.begin(id_, "one", "run-1"))
    with pytest.raises(Superseded, match="records"):
        endpoint.begin(id_, "one", "run-2")
    fault = captures.get(id_, None).fault
    assert fault is not None
    assert fault.code == "publication-unknown"
    assert servers.get(web.id, None).task_state is None


def test_a_failure_before_the_begin_or_with_its_answer_lost_ends_the_capture(
    captures: Captures, endpoint: ControllerEndpoint, web: Instance
) -> None:
    fault = CannotFreeze(instance=web.id, reason="no agent").fault
    for answer_lost in (False, True):
        id_ = captures.accept(request(web)).id
        if answer_lost:
            endpoint.begin(id_, "one", "run-1")
        assert told(endpoint, ended(id_, "", fault)).recorded == (id_,)
        assert captures.get(id_, None).fault == fault


def test_the_reported_instant_outlives_its_attempt(
    captures: Captures, endpoint: ControllerEndpoint, web: Instance
) -> None:
    id_ = captures.accept(request(web)).id
    instant = Instant(now(), Consistency.CRASH)
    told(endpoint, report(id_, endpoint.begin(id_, "one", "run-1"), Phase.HELD, instant=instant))
    second = endpoint.begin(id_, "one", "run-2")
    orders = told(endpoint, report(id_, second, Phase.WAITING), run="run-2").orders
    assert [order.instant for order in orders] == [instant]


def test_after_the_end_only_what_is_still_held_changes(
    captures: Captures, endpoint: ControllerEndpoint, web: Instance
) -> None:
    id_ = captures.accept(request(web)).id
    token = endpoint.begin(id_, "one", "run-1")
    endpoint.commit(id_, token)
    last = replace(ended(id_, token), held=("scratch file",))
    told(endpoint, last)
    assert captures.get(id_, None).held == ("scratch file",)
    other = NoSpace(what="store", needed=2, free=1).fault
    assert told(endpoint, replace(last, held=(), fault=other)).recorded == (id_,)
    done = captures.get(id_, None)
    assert (done.held, done.status, done.fault, len(done.results)) == ((), CaptureStatus.COMPLETED, None, 1)


def test_an_unknown_or_foreign_capture_is_wanted_by_nobody_and_forgotten_once_ended(
    captures: Captures, endpoint: ControllerEndpoint, web: Instance
) -> None:
    fault = Superseded(reason="gone").fault
    id_ = captures.accept(request(web)).id
    assert told(endpoint, report(web.id, "t", Phase.HELD), host="two") == Orders()
    assert told(endpoint, ended(web.id, "t", fault), host="two").recorded == (web.id,)
    assert told(endpoint, ended(id_, "", fault), host="two").recorded == (id_,)
    assert captures.get(id_, None).status is CaptureStatus.PENDING


def test_a_late_heartbeat_changes_nothing(
    captures: Captures, servers: Servers, endpoint: ControllerEndpoint, web: Instance
) -> None:
    id_ = captures.accept(request(web)).id
    token = endpoint.begin(id_, "one", "run-1")
    told(endpoint, report(id_, token, Phase.TRANSFERRING), sequence=7)
    late = told(endpoint, report(id_, token, Phase.HOLDING), sequence=6)
    doubled = told(endpoint, report(id_, token, Phase.TRANSFERRING), sequence=7)
    assert len(late.orders) == len(doubled.orders) == 1
    assert servers.get(web.id, None).task_state is TaskState.IMAGE_UPLOADING
    assert endpoint.heartbeat(inventory(sequence=5)).send_inventory is False
    told(endpoint, report(id_, token, Phase.HELD), sequence=8)
    assert servers.get(web.id, None).task_state is TaskState.IMAGE_PENDING_UPLOAD


def test_an_agent_that_was_replaced_is_wanted_for_nothing(
    captures: Captures, endpoint: ControllerEndpoint, web: Instance
) -> None:
    captures.accept(request(web))
    assert len(told(endpoint, run="run-2", sequence=1).orders) == 1
    assert told(endpoint, run="run-1", sequence=99) == Orders()
    assert len(told(endpoint, run="run-2", sequence=2).orders) == 1


def test_the_inventory_is_asked_for_only_when_it_is_news(endpoint: ControllerEndpoint) -> None:
    first = inventory(instance())
    known = replace(first, inventory=None)
    assert endpoint.heartbeat(known).send_inventory is True
    assert endpoint.heartbeat(first).send_inventory is False
    assert endpoint.heartbeat(known).send_inventory is False
    assert endpoint.heartbeat(HostReport("one", "run-1")).send_inventory is False
    assert endpoint.heartbeat(replace(known, inventory_digest="other")).send_inventory is True
