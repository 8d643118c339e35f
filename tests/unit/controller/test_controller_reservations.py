from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from sqlalchemy import select

from stillframe.controller.captures import Captures
from stillframe.controller.database import Database
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.controller.reservations import DOUBT_SECONDS, MAKING_SECONDS, Reservations
from stillframe.controller.schema import reservations
from stillframe.controller.servers import Servers
from stillframe.controller.volumesets import VolumeSets
from stillframe.errors.base import StillframeError
from stillframe.errors.cinder import CinderUnreachable
from stillframe.errors.glance import GlanceUnreachable, ImageForbidden
from stillframe.errors.service import PublicationUnknown
from stillframe.model import CaptureStatus, ImageRequest, Instance, Phase, Wishes, now
from tests.unit.controller.scene import Bells, ended, instance, inventory, new_id, report, request, told
from tests.unit.controller.test_controller_reconcile import Clock


@dataclass
class Shelf:
    """Glance, as it is in the memory of this test."""

    images: dict[str, bool] = field(default_factory=dict)  # id -> whether it has its data
    deletions: list[str] = field(default_factory=list)
    refusal: StillframeError | None = None

    def present(self, image_ids: Sequence[str]) -> set[str]:
        return set(image_ids) & self.images.keys()

    def finished(self, image_id: str) -> bool:
        return self.images.get(image_id, False)

    def delete(self, image_id: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.deletions.append(image_id)
        self.images.pop(image_id, None)


@dataclass
class Cinder:
    """Cinder, as it is in the memory of this test; deleting takes until the next look."""

    snapshots: dict[str, str] = field(default_factory=dict)  # id -> status
    refusal: StillframeError | None = None

    def snapshots_for(self, image_id: str) -> list[dict[str, str]]:
        if self.refusal is not None:
            raise self.refusal
        found = [{"id": snapshot, "status": status} for snapshot, status in self.snapshots.items()]
        self.snapshots = {each: status for each, status in self.snapshots.items() if status != "deleting"}
        return found

    def delete_snapshot(self, snapshot_id: str) -> None:
        assert self.snapshots[snapshot_id] not in ("creating", "deleting")
        self.snapshots[snapshot_id] = "deleting"


@pytest.fixture
def cinder() -> Cinder:
    return Cinder()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keeper(db: Database, shelf: Shelf, cinder: Cinder, bells: Bells, clock: Clock) -> Reservations:
    return Reservations(db, shelf, cinder, bells, clock)


@pytest.fixture
def web(endpoint: ControllerEndpoint) -> Instance:
    web = instance()
    endpoint.heartbeat(inventory(web, host="one"))
    return web


def accept(captures: Captures, of: Instance, *more: ImageRequest) -> str:
    first = ImageRequest(new_id(), "golden")
    return captures.accept(request(of, images=(first, *more), reserve=True)).id


def made(captures: Captures, of: Instance, shelf: Shelf) -> str:
    """A capture whose record is there."""
    capture_id = accept(captures, of)
    shelf.images[capture_id] = False
    captures.reserved(capture_id)
    return capture_id


def begun(captures: Captures, endpoint: ControllerEndpoint, of: Instance, shelf: Shelf) -> tuple[str, str]:
    capture_id = made(captures, of, shelf)
    return capture_id, endpoint.begin(capture_id, "one", "run-1")


def held(db: Database) -> set[str]:
    return set(db.read(lambda connection: connection.scalars(select(reservations.c.image_id)).all()))


def test_no_agent_hears_of_a_capture_before_its_records_are_made(
    captures: Captures, endpoint: ControllerEndpoint, web: Instance, bells: Bells
) -> None:
    capture_id = accept(captures, web)
    assert bells.rung == []
    assert told(endpoint).orders == ()
    captures.reserved(capture_id)
    assert bells.rung == ["one"]
    assert [order.capture_id for order in told(endpoint).orders] == [capture_id]


def test_what_cannot_be_made_ends_the_capture(captures: Captures, servers: Servers, web: Instance) -> None:
    capture_id = accept(captures, web)
    captures.fail(capture_id, ImageForbidden(what="x", reason="y").fault)
    ended_so = captures.get(capture_id, None)
    assert (ended_so.status, ended_so.fault and ended_so.fault.code) == (CaptureStatus.FAILED, "image-forbidden")
    assert servers.get(web.id, None).task_state is None


def test_the_record_of_a_failed_capture_is_taken_back(
    captures: Captures, endpoint: ControllerEndpoint, web: Instance, shelf: Shelf, keeper: Reservations, db: Database
) -> None:
    capture_id, token = begun(captures, endpoint, web, shelf)
    keeper.run_once(now())
    assert shelf.deletions == []
    told(endpoint, ended(capture_id, token, GlanceUnreachable(reason="x").fault))
    keeper.run_once(now())
    assert shelf.images == {}
    assert held(db) == set()


def test_the_image_of_a_good_capture_is_its_users(
    captures: Captures, endpoint: ControllerEndpoint, web: Instance, shelf: Shelf, keeper: Reservations, db: Database
) -> None:
    capture_id, token = begun(captures, endpoint, web, shelf)
    endpoint.commit(capture_id, token)
    told(endpoint, ended(capture_id, token))
    keeper.run_once(now())
    assert (shelf.deletions, held(db)) == ([], set())


def test_what_cannot_be_deleted_now_is_deleted_later(
    captures: Captures, web: Instance, shelf: Shelf, keeper: Reservations, db: Database
) -> None:
    capture_id = made(captures, web, shelf)
    captures.cancel(capture_id, None)
    shelf.refusal = GlanceUnreachable(reason="away")
    keeper.run_once(now())
    assert held(db) == {capture_id}
    shelf.refusal = None
    keeper.run_once(now())
    assert (shelf.images, held(db)) == ({}, set())


def test_one_that_cannot_be_deleted_does_not_keep_the_others(
    captures: Captures, endpoint: ControllerEndpoint, shelf: Shelf, keeper: Reservations
) -> None:
    two = [instance("a"), instance("b")]
    endpoint.heartbeat(inventory(*two))
    ids = [made(captures, each, shelf) for each in two]
    for capture_id in ids:
        captures.cancel(capture_id, None)
    tried: list[str] = []

    def delete(image_id: str) -> None:
        tried.append(image_id)
        raise ImageForbidden(what="delete it", reason="it is protected")

    shelf.delete = delete  # type: ignore[method-assign]
    keeper.run_once(now())
    assert sorted(tried) == sorted(ids)


def test_deleting_the_image_cancels_its_capture(
    captures: Captures, endpoint: ControllerEndpoint, web: Instance, shelf: Shelf, keeper: Reservations, bells: Bells
) -> None:
    capture_id, token = begun(captures, endpoint, web, shelf)
    bells.rung.clear()
    del shelf.images[capture_id]
    keeper.run_once(now())
    assert bells.rung == ["one"]
    [order] = told(endpoint, report(capture_id, token, Phase.TRANSFERRING)).orders
    assert order.cancel is not None
    told(endpoint, ended(capture_id, token, order.cancel))
    ended_so = captures.get(capture_id, None)
    assert (ended_so.status, ended_so.fault and ended_so.fault.code) == (CaptureStatus.CANCELLED, "image-deleted")


def test_a_capture_whose_api_process_died_before_its_records_were_made(
    captures: Captures, servers: Servers, web: Instance, shelf: Shelf, keeper: Reservations, clock: Clock, db: Database
) -> None:
    capture_id = accept(captures, web)
    keeper.run_once(now())
    clock.seconds = MAKING_SECONDS - 1
    keeper.run_once(now())
    assert captures.get(capture_id, None).status is CaptureStatus.PENDING
    clock.seconds = MAKING_SECONDS
    keeper.run_once(now())
    ended_so = captures.get(capture_id, None)
    assert (ended_so.status, ended_so.fault and ended_so.fault.code) == (CaptureStatus.FAILED, "image-not-reserved")
    assert servers.get(web.id, None).task_state is None
    keeper.run_once(now())
    shelf.images[capture_id] = False  # it comes about after all
    clock.seconds += DOUBT_SECONDS
    keeper.run_once(now())
    assert (shelf.images, held(db)) == ({}, set())


def test_records_that_are_made_too_late_tell_why_it_has_ended(captures: Captures, web: Instance) -> None:
    capture_id = accept(captures, web)
    captures.cancel(capture_id, None)
    with pytest.raises(StillframeError) as caught:
        captures.reserved(capture_id)
    assert caught.value.fault.code == "cancelled"


@pytest.mark.parametrize("whole", [True, False])
def test_an_image_whose_publication_nobody_saw_stays_if_it_is_whole(
    captures: Captures,
    endpoint: ControllerEndpoint,
    web: Instance,
    shelf: Shelf,
    keeper: Reservations,
    db: Database,
    *,
    whole: bool,
) -> None:
    capture_id, token = begun(captures, endpoint, web, shelf)
    endpoint.commit(capture_id, token)
    shelf.images[capture_id] = whole
    told(endpoint, ended(capture_id, token, PublicationUnknown(reason="x").fault))
    keeper.run_once(now())
    assert shelf.images == ({capture_id: True} if whole else {})
    assert held(db) == set()


def test_all_images_of_a_capture_are_reserved_and_taken_back(
    captures: Captures, web: Instance, shelf: Shelf, keeper: Reservations
) -> None:
    second = ImageRequest(new_id(), "golden-vdb", "vdb")
    capture_id = accept(captures, web, second)
    shelf.images |= {capture_id: False, second.id: False}
    captures.reserved(capture_id)
    del shelf.images[second.id]
    keeper.run_once(now())
    assert captures.get(capture_id, None).status is CaptureStatus.CANCELLED
    keeper.run_once(now())
    assert shelf.images == {}
    assert captures.get(capture_id, None).phase is Phase.ENDED


# ------------------------------------------------------------------------------------------------ Cinder's snapshots


def by_volumes(captures: Captures, endpoint: ControllerEndpoint, of: Instance, shelf: Shelf) -> tuple[str, str]:
    """A capture that is snapshots of volumes, begun; its attempt."""
    wanted = request(of, reserve=True, wishes=Wishes(volumes=True))
    capture_id = captures.accept(wanted).id
    shelf.images[capture_id] = False
    captures.reserved(capture_id)
    return capture_id, endpoint.begin(capture_id, "one", "run-1")


def test_snapshots_of_a_failed_capture_are_removed_until_none_is_left(
    captures: Captures,
    endpoint: ControllerEndpoint,
    web: Instance,
    shelf: Shelf,
    cinder: Cinder,
    keeper: Reservations,
    db: Database,
) -> None:
    capture_id, token = by_volumes(captures, endpoint, web, shelf)
    VolumeSets(db).close(capture_id)
    cinder.snapshots = {"s1": "available", "s2": "creating"}
    told(endpoint, ended(capture_id, token, GlanceUnreachable(reason="x").fault))
    keeper.run_once(now())
    assert (shelf.images, cinder.snapshots) == ({}, {"s1": "deleting", "s2": "creating"})
    cinder.snapshots["s2"] = "available"
    keeper.run_once(now())
    assert cinder.snapshots == {"s2": "deleting"}
    assert held(db) == {capture_id}
    keeper.run_once(now())
    keeper.run_once(now())
    assert (cinder.snapshots, held(db)) == ({}, set())


def test_a_cinder_that_is_away_is_asked_again_and_the_record_goes_all_the_same(
    captures: Captures,
    endpoint: ControllerEndpoint,
    web: Instance,
    shelf: Shelf,
    cinder: Cinder,
    keeper: Reservations,
    db: Database,
) -> None:
    capture_id, token = by_volumes(captures, endpoint, web, shelf)
    VolumeSets(db).close(capture_id)
    cinder.snapshots, cinder.refusal = {"s1": "available"}, CinderUnreachable(reason="away")
    told(endpoint, ended(capture_id, token, GlanceUnreachable(reason="x").fault))
    keeper.run_once(now())
    assert (shelf.images, held(db)) == ({}, {capture_id})
    cinder.refusal = None
    for _ in range(3):
        keeper.run_once(now())
    assert (cinder.snapshots, held(db)) == ({}, set())


def test_snapshots_that_may_still_come_about_are_looked_for_again(
    captures: Captures,
    endpoint: ControllerEndpoint,
    web: Instance,
    shelf: Shelf,
    cinder: Cinder,
    keeper: Reservations,
    clock: Clock,
    db: Database,
) -> None:
    """Whoever asked for them died, or had no answer: nobody has said that nothing more comes."""
    capture_id, token = by_volumes(captures, endpoint, web, shelf)
    told(endpoint, ended(capture_id, token, GlanceUnreachable(reason="x").fault))
    keeper.run_once(now())
    cinder.snapshots = {"late": "available"}
    clock.seconds = DOUBT_SECONDS
    keeper.run_once(now())
    assert held(db) == {capture_id}
    keeper.run_once(now())
    keeper.run_once(now())
    assert (cinder.snapshots, held(db)) == ({}, set())


def test_the_snapshots_of_a_good_capture_are_its_users(
    captures: Captures,
    endpoint: ControllerEndpoint,
    web: Instance,
    shelf: Shelf,
    cinder: Cinder,
    keeper: Reservations,
    db: Database,
) -> None:
    capture_id, token = by_volumes(captures, endpoint, web, shelf)
    cinder.snapshots = {"s1": "available"}
    VolumeSets(db).close(capture_id)
    endpoint.commit(capture_id, token)
    told(endpoint, ended(capture_id, token))
    keeper.run_once(now())
    assert (cinder.snapshots, held(db)) == ({"s1": "available"}, set())
