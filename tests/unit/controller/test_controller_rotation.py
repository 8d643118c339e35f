from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from sqlalchemy import update

from lab.wait import until
from stillframe.controller.captures import Captures
from stillframe.controller.claims import Claims
from stillframe.controller.database import Database
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.controller.rotation import Rotation
from stillframe.controller.schema import claims
from stillframe.errors.service import StoreUnusable
from stillframe.model import Instance
from tests.unit.controller.scene import ended, instance, inventory, request, told


@dataclass
class Images:
    """An image store by its ids."""

    ids: list[str] = field(default_factory=list)
    broken: bool = False

    def exists(self, image_id: str) -> bool:
        return image_id in self.ids

    def delete(self, image_id: str) -> None:
        if self.broken:
            raise StoreUnusable(store="x", reason="broken")
        self.ids.remove(image_id)


@pytest.fixture
def images() -> Images:
    return Images()


@pytest.fixture
def rotation(db: Database, images: Images) -> Rotation:
    return Rotation(db, images)


@pytest.fixture
def web(endpoint: ControllerEndpoint) -> Instance:
    web = instance()
    endpoint.heartbeat(inventory(web))
    return web


@pytest.fixture
def backup(captures: Captures, endpoint: ControllerEndpoint, images: Images) -> Backup:
    return Backup(captures, endpoint, images)


@dataclass
class Backup:
    """Makes finished backups."""

    captures: Captures
    endpoint: ControllerEndpoint
    images: Images

    def of(self, one: Instance, rotation: int, backup_type: str = "daily") -> str:
        wanted = request(one, kind="backup", backup_type=backup_type, rotation=rotation)
        id_ = self.captures.accept(wanted).id
        token = self.endpoint.begin(id_, "one", "run-1")
        self.endpoint.commit(id_, token)
        self.images.ids.append(id_)
        told(self.endpoint, ended(id_, token))
        return id_


def test_the_oldest_beyond_the_rotation_go_once(
    rotation: Rotation, backup: Backup, images: Images, web: Instance
) -> None:
    ids = [backup.of(web, 2) for _ in range(4)]
    assert rotation.run_once() == (ids[0], ids[1])
    assert rotation.run_once() == ()
    assert images.ids == ids[2:]


def test_other_types_and_other_instances_are_left_alone(
    rotation: Rotation, backup: Backup, endpoint: ControllerEndpoint
) -> None:
    web, mail = instance(), instance()
    endpoint.heartbeat(inventory(web, mail))
    backup.of(web, 1)
    backup.of(mail, 1)
    backup.of(web, 1, "weekly")
    assert rotation.run_once() == ()


def test_only_finished_backups_count(
    rotation: Rotation, backup: Backup, captures: Captures, endpoint: ControllerEndpoint, web: Instance
) -> None:
    kept = backup.of(web, 2)
    failed = captures.accept(request(web, kind="backup", backup_type="daily", rotation=1)).id
    captures.cancel(failed, None)
    backup.of(web, 2)
    captures.accept(request(web, kind="backup", backup_type="daily", rotation=1))
    assert rotation.run_once() == ()
    assert captures.get(kept, None).id == kept


def test_images_deleted_by_hand_do_not_count(rotation: Rotation, backup: Backup, images: Images, web: Instance) -> None:
    ids = [backup.of(web, 2), backup.of(web, 2)]
    images.ids.remove(ids[1])
    ids.append(backup.of(web, 2))
    assert rotation.run_once() == ()
    assert images.ids == [ids[0], ids[2]]


def test_rotation_zero_keeps_none(rotation: Rotation, backup: Backup, images: Images, web: Instance) -> None:
    ids = {backup.of(web, 0), backup.of(web, 0)}
    assert set(rotation.run_once()) == ids
    assert images.ids == []


def test_what_a_failure_interrupts_the_next_run_does(
    rotation: Rotation, backup: Backup, images: Images, web: Instance
) -> None:
    ids = [backup.of(web, 1), backup.of(web, 1)]
    images.broken = True
    with pytest.raises(StoreUnusable):
        rotation.run_once()
    images.broken = False
    assert rotation.run_once() == (ids[0],)


def test_what_another_controller_rotates_is_left_to_it_until_it_dies(
    db: Database, rotation: Rotation, backup: Backup, images: Images, web: Instance
) -> None:
    ids = [backup.of(web, 1), backup.of(web, 1)]
    dead = Claims(db, seconds=0.3)
    assert dead.take(f"rotation:{web.id}")
    assert rotation.run_once() == ()
    assert images.ids == ids
    assert until(rotation.run_once, 5, "the end of the claim") == (ids[0],)


def test_a_controller_whose_claim_has_lapsed_deletes_nothing_more(
    db: Database, rotation: Rotation, backup: Backup, images: Images, web: Instance
) -> None:
    ids = [backup.of(web, 5), backup.of(web, 5), backup.of(web, 1)]
    slow = Slow(images, lambda: take_all(db))
    assert Rotation(db, slow).run_once() == (ids[1],)
    assert images.ids == [ids[0], ids[2]]


def take_all(db: Database) -> None:
    """As another controller does once a claim has lapsed."""
    db.write(lambda connection: connection.execute(update(claims).values(owner="another")))


@dataclass
class Slow:
    """A store that takes longer for a deletion than a claim holds."""

    images: Images
    meanwhile: Callable[[], None]

    def exists(self, image_id: str) -> bool:
        return self.images.exists(image_id)

    def delete(self, image_id: str) -> None:
        self.images.delete(image_id)
        self.meanwhile()
