"""One agent a host: a restarted one takes over at once, another one is refused while the first is alive."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stillframe.config import Controller
from stillframe.controller.captures import Captures
from stillframe.controller.database import Database
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.controller.reconcile import Reconciler
from stillframe.errors.capture import HostTaken, Superseded
from stillframe.messaging.contract import HostReport, Orders
from stillframe.model import CaptureStatus, Instance, Phase, now
from tests.unit.controller.scene import Bells, ended, instance, inventory, report, request


@pytest.fixture
def web(endpoint: ControllerEndpoint) -> Instance:
    """On host one, of the first agent."""
    web = instance()
    endpoint.heartbeat(replace(inventory(web, run="run-1"), agent_id="first"))
    return web


def beat(endpoint: ControllerEndpoint, run: str, agent_id: str, *, sequence: int = 0) -> Orders:
    return endpoint.heartbeat(HostReport("one", run, agent_id=agent_id, sequence=sequence))


def lose(db: Database, settings: Controller) -> None:
    """No controller has heard of host one for host_timeout."""
    clock = [0.0]
    reconciler = Reconciler(db, settings, Bells(), lambda: clock[0])
    reconciler.run_once(now())
    clock[0] = settings.host_timeout
    assert reconciler.run_once(now()).hosts_lost == ("one",)


def test_another_agent_is_refused_while_the_first_is_alive(
    captures: Captures, endpoint: ControllerEndpoint, web: Instance
) -> None:
    id_ = captures.accept(request(web)).id
    for turn in range(3):
        with pytest.raises(HostTaken, match="Host one is another agent's"):
            beat(endpoint, "run-9", "second", sequence=turn + 1)
        assert [order.capture_id for order in beat(endpoint, "run-1", "first", sequence=turn + 1).orders] == [id_]


def test_a_restarted_agent_takes_over_at_once(captures: Captures, endpoint: ControllerEndpoint, web: Instance) -> None:
    captures.accept(request(web))
    assert len(beat(endpoint, "run-2", "first", sequence=1).orders) == 1


def test_another_agent_takes_over_from_a_lost_one_which_is_refused_then(
    db: Database, settings: Controller, endpoint: ControllerEndpoint, web: Instance
) -> None:
    lose(db, settings)
    assert beat(endpoint, "run-9", "second") == Orders()
    with pytest.raises(HostTaken):
        beat(endpoint, "run-1", "first", sequence=5)


def test_an_agent_of_the_release_before_has_no_id_and_is_believed(endpoint: ControllerEndpoint) -> None:
    endpoint.heartbeat(inventory(instance(), run="run-1"))
    assert beat(endpoint, "run-2", "first") == Orders()
    assert beat(endpoint, "run-3", "") == Orders()
    with pytest.raises(HostTaken):
        beat(endpoint, "run-4", "second")


def test_the_captures_of_a_lost_host_may_wait_for_it(
    db: Database, settings: Controller, captures: Captures, endpoint: ControllerEndpoint, web: Instance
) -> None:
    id_ = captures.accept(request(web)).id
    token = endpoint.begin(id_, "one", "run-1")
    lose(db, replace(settings, lost_host="wait"))
    assert captures.get(id_, None).status is CaptureStatus.RUNNING
    endpoint.heartbeat(HostReport("one", "run-1", (report(id_, token, Phase.TRANSFERRING),)))
    endpoint.commit(id_, token)
    endpoint.heartbeat(HostReport("one", "run-1", (ended(id_, token),)))
    assert captures.get(id_, None).status is CaptureStatus.COMPLETED


def test_what_waits_for_a_lost_host_can_be_cancelled(
    db: Database, settings: Controller, captures: Captures, endpoint: ControllerEndpoint, web: Instance
) -> None:
    id_ = captures.accept(request(web)).id
    token = endpoint.begin(id_, "one", "run-1")
    captures.cancel(id_, None)
    lose(db, replace(settings, lost_host="wait"))
    assert captures.get(id_, None).status is CaptureStatus.CANCELLED
    with pytest.raises(Superseded):
        endpoint.commit(id_, token)
