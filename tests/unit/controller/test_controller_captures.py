from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from stillframe.controller.captures import CaptureFilters, Captures
from stillframe.controller.database import Database
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.controller.servers import Servers
from stillframe.errors.base import StillframeError
from stillframe.errors.capture import HypervisorFailed, ReadFailed, Superseded
from stillframe.errors.request import (
    BadRequest,
    CaptureEnded,
    CaptureNotFound,
    ImageNotFound,
    InstanceNotFound,
    WrongState,
)
from stillframe.model import (
    CaptureStatus,
    Consistency,
    ImageRequest,
    Instant,
    Phase,
    Progress,
    Step,
    TaskState,
    VmState,
    now,
)
from tests.unit.controller.scene import Bells, ended, instance, inventory, new_id, report, request, told


def all_at_once(*works: Callable[[], object]) -> list[object]:
    """Runs each in a thread of its own, released together; what each returned or raised."""
    outcomes: list[object] = [None] * len(works)
    barrier = threading.Barrier(len(works))

    def run(index: int) -> None:
        barrier.wait(30)
        try:
            outcomes[index] = works[index]()
        except StillframeError as error:
            outcomes[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return outcomes


def test_an_accepted_capture_is_pending_takes_the_task_state_and_wakes_the_host(
    captures: Captures, servers: Servers, endpoint: ControllerEndpoint, bells: Bells
) -> None:
    web = instance()
    endpoint.heartbeat(inventory(web))
    wanted = request(web)
    capture = captures.accept(wanted)
    assert (capture.id, capture.status, capture.host) == (wanted.images[0].id, CaptureStatus.PENDING, "one")
    assert (capture.project_id, capture.user_id, capture.images) == ("blue", "ann", wanted.images)
    server = servers.get(web.id, "blue")
    assert (server.task_state, server.capture_id) == (TaskState.IMAGE_SNAPSHOT_PENDING, capture.id)
    assert bells.rung == ["one"]
    assert captures.get(capture.id, "blue") == capture


def test_of_fifty_accepts_at_once_exactly_one_wins(
    captures: Captures, servers: Servers, endpoint: ControllerEndpoint
) -> None:
    web = instance()
    endpoint.heartbeat(inventory(web))
    outcomes = all_at_once(*[lambda: captures.accept(request(web)) for _ in range(50)])
    refused = [outcome for outcome in outcomes if isinstance(outcome, WrongState)]
    assert len(refused) == 49
    assert len(captures.list()) == 1
    assert servers.get(web.id, None).capture_id == captures.list()[0].id


def test_accepts_of_different_servers_at_once_all_win(captures: Captures, endpoint: ControllerEndpoint) -> None:
    servers = [instance(f"vm{number}") for number in range(30)]
    endpoint.heartbeat(inventory(*servers))
    outcomes = all_at_once(*[lambda one=one: captures.accept(request(one)) for one in servers])
    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert captures.counts()[CaptureStatus.PENDING] == 30


@pytest.mark.parametrize("state", [VmState.ACTIVE, VmState.STOPPED, VmState.PAUSED, VmState.SUSPENDED])
def test_every_allowed_state_is_accepted(captures: Captures, endpoint: ControllerEndpoint, state: VmState) -> None:
    web = instance(vm_state=state)
    endpoint.heartbeat(inventory(web))
    assert captures.accept(request(web)).status is CaptureStatus.PENDING


def test_refusals_have_novas_words(captures: Captures, endpoint: ControllerEndpoint) -> None:
    web, broken = instance(), instance(vm_state=VmState.ERROR)
    endpoint.heartbeat(inventory(web, broken))
    captures.accept(request(web))
    with pytest.raises(WrongState) as busy:
        captures.accept(request(web, action="createBackup"))
    assert busy.value.fault.message == (
        f"Cannot 'createBackup' instance {web.id} while it is in task_state image_snapshot_pending"
    )
    with pytest.raises(WrongState) as wrong:
        captures.accept(request(broken))
    assert wrong.value.fault.message == f"Cannot 'createImage' instance {broken.id} while it is in vm_state error"


def test_another_projects_instance_is_not_found_and_an_unowned_one_is_the_administrators(
    captures: Captures, endpoint: ControllerEndpoint
) -> None:
    web, unowned = instance(), instance(project_id=None)
    endpoint.heartbeat(inventory(web, unowned))
    for of in (web, unowned):
        with pytest.raises(InstanceNotFound):
            captures.accept(request(of, project="red"))
    capture = captures.accept(request(unowned, project=None))
    with pytest.raises(CaptureNotFound):
        captures.get(capture.id, "red")
    with pytest.raises(CaptureNotFound):
        captures.cancel(capture.id, "red")


def test_the_task_state_follows_the_phases_and_the_record_shows_all_that_was_told(
    captures: Captures, servers: Servers, endpoint: ControllerEndpoint
) -> None:
    web = instance()
    endpoint.heartbeat(inventory(web))
    id_ = captures.accept(request(web)).id
    token = endpoint.begin(id_, "one", "run-1")
    instant = Instant(now(), Consistency.FILESYSTEM, 40.0)
    step = Step("freeze", now(), now(), "2 filesystems")
    seen = []
    for phase in (Phase.WAITING, Phase.HOLDING, Phase.HELD, Phase.TRANSFERRING):
        told(endpoint, report(id_, token, phase, steps=(step,), instant=instant, progress=Progress(5, 10, 1.0)))
        seen.append(servers.get(web.id, None).task_state)
    running = captures.get(id_, None)
    endpoint.commit(id_, token)
    assert captures.get(id_, None).status is CaptureStatus.PUBLISHING
    orders = told(endpoint, replace(ended(id_, token), instant=instant, steps=(step,)))
    assert seen == ["image_snapshot_pending", "image_snapshot", "image_pending_upload", "image_uploading"]
    assert (running.status, running.steps, running.instant) == (CaptureStatus.RUNNING, (step,), instant)
    assert (running.progress, running.attempt) == (Progress(5, 10, 1.0), 1)
    done = captures.get(id_, None)
    assert (done.status, done.fault, done.results[0].size) == (CaptureStatus.COMPLETED, None, 10)
    assert done.ended_at is not None
    assert (orders.recorded, orders.orders) == ((id_,), ())
    server = servers.get(web.id, None)
    assert (server.task_state, server.capture_id) == (None, None)


def test_a_backup_is_image_backup_throughout(
    captures: Captures, servers: Servers, endpoint: ControllerEndpoint
) -> None:
    web = instance()
    endpoint.heartbeat(inventory(web))
    id_ = captures.accept(request(web, kind="backup", backup_type="daily", rotation=2)).id
    token = endpoint.begin(id_, "one", "run-1")
    for phase in (Phase.HOLDING, Phase.TRANSFERRING):
        told(endpoint, report(id_, token, phase))
        assert servers.get(web.id, None).task_state is TaskState.IMAGE_BACKUP


def test_a_pending_capture_is_cancelled_at_once(
    captures: Captures, servers: Servers, endpoint: ControllerEndpoint, bells: Bells
) -> None:
    web = instance()
    endpoint.heartbeat(inventory(web))
    id_ = captures.accept(request(web)).id
    assert captures.cancel(id_, "blue").status is CaptureStatus.CANCELLED
    assert captures.cancel(id_, "blue").status is CaptureStatus.CANCELLED
    assert servers.get(web.id, None).task_state is None
    assert told(endpoint).orders == ()
    assert bells.rung == ["one", "one"]
    with pytest.raises(Superseded, match="cancelled"):
        endpoint.begin(id_, "one", "run-1")


def test_a_running_capture_is_told_to_stop_and_ends_when_its_agent_says_so(
    captures: Captures, servers: Servers, endpoint: ControllerEndpoint
) -> None:
    web = instance()
    endpoint.heartbeat(inventory(web))
    id_ = captures.accept(request(web)).id
    token = endpoint.begin(id_, "one", "run-1")
    cancelling = captures.cancel(id_, "blue")
    assert captures.cancel(id_, "blue").cancel == cancelling.cancel
    assert cancelling.status is CaptureStatus.RUNNING
    orders = told(endpoint, report(id_, token, Phase.TRANSFERRING)).orders
    assert [order.cancel and order.cancel.code for order in orders] == ["cancelled"]
    with pytest.raises(Superseded, match="stop"):
        endpoint.commit(id_, token)
    with pytest.raises(Superseded):
        endpoint.begin(id_, "one", "run-1")
    assert servers.get(web.id, None).task_state is TaskState.IMAGE_UPLOADING
    told(endpoint, ended(id_, token, Superseded(reason="cancel").fault))
    capture = captures.get(id_, None)
    assert (capture.status, capture.fault and capture.fault.code) == (CaptureStatus.CANCELLED, "cancelled")
    assert servers.get(web.id, None).task_state is None


def test_what_is_to_stop_and_no_agent_holds_has_ended(captures: Captures, endpoint: ControllerEndpoint) -> None:
    web = instance()
    endpoint.heartbeat(inventory(web))
    id_ = captures.accept(request(web)).id
    endpoint.begin(id_, "one", "run-1")
    captures.cancel(id_, None)
    assert told(endpoint, run="run-2").orders == ()
    assert captures.get(id_, None).status is CaptureStatus.CANCELLED


def test_publishing_and_ended_captures_are_not_cancelled(captures: Captures, endpoint: ControllerEndpoint) -> None:
    web = instance()
    endpoint.heartbeat(inventory(web))
    id_ = captures.accept(request(web)).id
    token = endpoint.begin(id_, "one", "run-1")
    endpoint.commit(id_, token)
    with pytest.raises(CaptureEnded, match="publishing"):
        captures.cancel(id_, None)
    told(endpoint, ended(id_, token, HypervisorFailed(what="x").fault))
    with pytest.raises(CaptureEnded, match="failed"):
        captures.cancel(id_, None)


@pytest.mark.parametrize("turn", range(10))
def test_of_commit_and_cancel_at_once_exactly_one_wins(
    captures: Captures, endpoint: ControllerEndpoint, turn: int
) -> None:
    web = instance()
    endpoint.heartbeat(inventory(web))
    id_ = captures.accept(request(web)).id
    token = endpoint.begin(id_, "one", "run-1")
    works: list[Callable[[], object]] = [lambda: endpoint.commit(id_, token), lambda: captures.cancel(id_, None)]
    committed, cancelled = all_at_once(*works) if turn % 2 else reversed(all_at_once(*reversed(works)))
    assert isinstance(committed, Superseded) != isinstance(cancelled, CaptureEnded)
    told(endpoint, ended(id_, token, None if committed is None else Superseded(reason="lost").fault))
    expected = CaptureStatus.COMPLETED if committed is None else CaptureStatus.CANCELLED
    assert captures.get(id_, None).status is expected


def test_of_two_databases_committing_and_cancelling_exactly_one_wins(
    captures: Captures, endpoint: ControllerEndpoint, url: str, bells: Bells
) -> None:
    elsewhere = Database(url)
    web = instance()
    endpoint.heartbeat(inventory(web))
    id_ = captures.accept(request(web)).id
    token = endpoint.begin(id_, "one", "run-1")
    committed, cancelled = all_at_once(
        lambda: endpoint.commit(id_, token), lambda: Captures(elsewhere, bells).cancel(id_, None)
    )
    assert isinstance(committed, Superseded) != isinstance(cancelled, CaptureEnded)
    elsewhere.close()


def test_captures_are_listed_newest_first_in_pages_that_miss_and_repeat_nothing(
    captures: Captures, endpoint: ControllerEndpoint
) -> None:
    machines = [instance(f"vm{number}", project_id="blue" if number % 2 else "red") for number in range(20)]
    endpoint.heartbeat(inventory(*machines))
    accepted = [captures.accept(request(machine, project=None)) for machine in machines]
    paged: list[str] = []
    while page := captures.list(limit=3, marker=paged[-1] if paged else None):
        paged += [capture.id for capture in page]
    assert paged == [capture.id for capture in reversed(accepted)]
    assert {capture.project_id for capture in captures.list(project="red")} == {"red"}
    with pytest.raises(BadRequest, match="marker"):
        captures.list(project="blue", marker=accepted[0].id)


def test_captures_are_filtered(captures: Captures, endpoint: ControllerEndpoint) -> None:
    web, mail = instance("web"), instance("mail")
    endpoint.heartbeat(inventory(web, mail))
    first, second = captures.accept(request(web)), captures.accept(request(mail))
    captures.cancel(first.id, None)

    def ids(**filters: object) -> list[str]:
        return [capture.id for capture in captures.list(CaptureFilters(**filters))]  # type: ignore[arg-type]

    assert ids(server_id=mail.id) == [second.id]
    assert ids(statuses=(CaptureStatus.CANCELLED,)) == [first.id]
    assert ids(request_id=second.request_id) == [second.id]
    assert ids(changed_since=now() + timedelta(hours=1)) == []
    assert ids(changed_before=now()) == [second.id, first.id]


def test_images_being_made_are_queued_then_saving_then_the_stores(
    captures: Captures, endpoint: ControllerEndpoint
) -> None:
    web = instance()
    endpoint.heartbeat(inventory(web))
    second = ImageRequest(new_id(), "data", "vdb", {"owner_id": "red"})
    wanted = request(web)
    id_ = captures.accept(replace(wanted, images=(*wanted.images, second))).id
    assert captures.pending_image(second.id, "red").status == "queued"
    assert captures.of_image(second.id, "red").id == id_
    with pytest.raises(ImageNotFound):
        captures.pending_image(second.id, "blue")
    token = endpoint.begin(id_, "one", "run-1")
    told(endpoint, report(id_, token, Phase.TRANSFERRING))
    assert [(image.id, image.status, image.owner) for image in captures.pending_images("blue")] == [
        (id_, "saving", "blue")
    ]
    endpoint.commit(id_, token)
    told(endpoint, ended(id_, token))
    assert captures.pending_images(None) == ()
    with pytest.raises(ImageNotFound):
        captures.of_image(id_, None)


def test_a_failure_is_kept_with_its_cause(captures: Captures, endpoint: ControllerEndpoint) -> None:
    web = instance()
    endpoint.heartbeat(inventory(web))
    id_ = captures.accept(request(web)).id
    token = endpoint.begin(id_, "one", "run-1")
    fault = ReadFailed(offset=4096, operator="EIO on /dev/sda").fault
    told(endpoint, ended(id_, token, fault))
    assert (captures.get(id_, None).status, captures.get(id_, None).fault) == (CaptureStatus.FAILED, fault)
    captures.accept(request(web))
