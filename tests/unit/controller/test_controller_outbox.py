from __future__ import annotations

import pytest

from stillframe.controller.captures import Captures
from stillframe.controller.database import Database
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.controller.outbox import Outbox
from stillframe.errors.capture import NoSpace
from stillframe.errors.service import ControllerUnreachable
from stillframe.messaging.notices import Event, Notice
from stillframe.model import Instance, Phase, TaskState
from tests.unit.controller.scene import ended, instance, inventory, report, request, told


class Told:
    """A notifier that remembers, and that can be away."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        self.away = False

    def tell(self, notice: Notice) -> None:
        if self.away:
            raise ControllerUnreachable(reason="RabbitMQ cannot be reached")
        self.notices.append(notice)

    def events(self) -> list[tuple[str, str]]:
        return [(notice.event.value, notice.image_id) for notice in self.notices]


@pytest.fixture
def heard() -> Told:
    return Told()


@pytest.fixture
def outbox(db: Database, heard: Told) -> Outbox:
    return Outbox(db, heard)


@pytest.fixture
def web(endpoint: ControllerEndpoint) -> Instance:
    web = instance()
    endpoint.heartbeat(inventory(web))
    return web


def test_a_capture_tells_its_start_and_its_end_once(
    captures: Captures, endpoint: ControllerEndpoint, web: Instance, outbox: Outbox, heard: Told
) -> None:
    accepted = captures.accept(request(web))
    assert outbox.run_once() == 0  # nothing has begun
    token = endpoint.begin(accepted.id, "one", "run-1")
    endpoint.begin(accepted.id, "one", "run-1")
    told(endpoint, report(accepted.id, token, Phase.TRANSFERRING))
    endpoint.commit(accepted.id, token)
    for _ in range(2):
        told(endpoint, ended(accepted.id, token))
    assert outbox.run_once() == 2
    assert outbox.run_once() == 0
    assert heard.events() == [("start", accepted.id), ("end", accepted.id)]
    start, end = heard.notices
    assert (start.instance, start.host, start.request_id) == (web, "one", accepted.request_id)
    assert (start.task_state, end.task_state) == (TaskState.IMAGE_SNAPSHOT_PENDING, None)
    assert (end.project_id, end.user_id, end.fault) == ("blue", "ann", None)


def test_a_new_attempt_is_no_second_start_and_a_failure_is_told_with_its_cause(
    captures: Captures, endpoint: ControllerEndpoint, web: Instance, outbox: Outbox, heard: Told
) -> None:
    id_ = captures.accept(request(web)).id
    endpoint.begin(id_, "one", "run-1")
    token = endpoint.begin(id_, "one", "run-2")
    fault = NoSpace(what="store", needed=2, free=1).fault
    told(endpoint, ended(id_, token, fault), run="run-2")
    outbox.run_once()
    assert heard.events() == [("start", id_), ("error", id_)]
    assert heard.notices[-1].fault == fault


def test_a_capture_that_is_cancelled_before_it_begins_is_told_as_an_error_only(
    captures: Captures, web: Instance, outbox: Outbox, heard: Told
) -> None:
    id_ = captures.accept(request(web)).id
    captures.cancel(id_, None)
    captures.cancel(id_, None)
    outbox.run_once()
    assert heard.events() == [("error", id_)]
    assert heard.notices[0].fault is not None
    assert heard.notices[0].fault.code == "cancelled"


def test_what_cannot_be_told_now_is_told_later_and_in_its_order(
    captures: Captures, endpoint: ControllerEndpoint, web: Instance, outbox: Outbox, heard: Told
) -> None:
    ids = []
    heard.away = True
    for _ in range(3):
        ids.append(captures.accept(request(web)).id)
        token = endpoint.begin(ids[-1], "one", "run-1")
        told(endpoint, ended(ids[-1], token, NoSpace(what="store", needed=2, free=1).fault))
        with pytest.raises(ControllerUnreachable):
            outbox.run_once()
    heard.away = False
    assert outbox.run_once() == 6
    assert heard.events() == [(event, id_) for id_ in ids for event in (Event.START, Event.ERROR)]
