"""The directory store: what is published is whole; what a crash leaves can be finished or removed."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stillframe.errors.base import StillframeError
from stillframe.errors.capture import WriteFailed
from stillframe.errors.ceph import CephUnreachable
from stillframe.errors.request import ImageNotFound
from stillframe.errors.service import ImageElsewhere, ImageExists, ImageInUse, StoreUnusable
from stillframe.images import directory
from stillframe.images.directory import DirectoryStore
from stillframe.model import Image, RbdPlace

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DATA = b"the disk at one instant"


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    made = DirectoryStore(tmp_path / "images")
    made.prepare()
    return made


def image(**changes: Any) -> Image:
    plain = Image(
        id=str(uuid.uuid4()),
        name="web, after the update",
        status="saving",
        created_at=NOON,
        updated_at=NOON,
        owner="project",
        disk_format="qcow2",
        container_format="bare",
        size=len(DATA),
        virtual_size=1 << 20,
        sha256="0" * 64,
        captured_at=NOON + timedelta(milliseconds=1.5),
        properties={"instance_uuid": "i", "ümlaut": "ok"},
    )
    return replace(plain, **changes)


def written(store: DirectoryStore, one: Image) -> Image:
    store.part(one.id).write_bytes(DATA)
    return one


def published(store: DirectoryStore, **changes: Any) -> Image:
    one = written(store, image(**changes))
    store.publish(one)
    return one


def names(store: DirectoryStore) -> set[str]:
    return {entry.name for entry in store.path.iterdir()} - {directory.LOCK_NAME}


def test_a_published_image_is_found_again_as_it_was(store: DirectoryStore) -> None:
    one = published(store)
    assert store.get(one.id) == replace(one, status="active")
    assert store.data(one.id).read_bytes() == DATA
    assert list(store.images()) == [replace(one, status="active")]
    assert names(store) == {f"{one.id}.json", f"{one.id}.qcow2"}
    assert list(store.halves()) == []


def test_the_record_is_plain_json_without_paths(store: DirectoryStore) -> None:
    one = published(store)
    record = json.loads((store.path / f"{one.id}.json").read_text())
    assert record["file"] == f"{one.id}.qcow2"
    assert record["captured_at"] == "2026-11-22T12:00:00.001500+00:00"
    assert record["sha256"] == "0" * 64
    assert str(store.path) not in json.dumps(record)


def test_the_directory_can_be_moved(store: DirectoryStore, tmp_path: Path) -> None:
    one = published(store)
    store.path.rename(tmp_path / "elsewhere")
    assert DirectoryStore(tmp_path / "elsewhere").data(one.id).read_bytes() == DATA


def test_only_the_owner_may_read_what_is_there(store: DirectoryStore) -> None:
    one = published(store)
    assert store.path.stat().st_mode & 0o777 == 0o700
    assert (store.path / f"{one.id}.json").stat().st_mode & 0o777 == 0o600


def test_publishing_again_is_fine(store: DirectoryStore) -> None:
    one = published(store)
    store.publish(replace(one, updated_at=NOON + timedelta(hours=1)))
    assert store.get(one.id).updated_at == NOON


def test_a_published_image_is_never_replaced(store: DirectoryStore) -> None:
    one = published(store)
    store.part(one.id).write_bytes(b"something else")
    with pytest.raises(ImageExists):
        store.publish(replace(one, size=14, sha256="1" * 64))
    assert store.data(one.id).read_bytes() == DATA
    store.discard(one.id)
    assert names(store) == {f"{one.id}.json", f"{one.id}.qcow2"}


def test_data_that_somebody_else_put_there_is_never_replaced(store: DirectoryStore) -> None:
    one = written(store, image())
    (store.path / f"{one.id}.qcow2").write_bytes(b"another's")
    with pytest.raises(ImageExists):
        store.publish(one)
    assert (store.path / f"{one.id}.qcow2").read_bytes() == b"another's"
    assert list(store.images()) == []


def test_what_is_not_whole_is_not_published(store: DirectoryStore) -> None:
    one = written(store, image(size=len(DATA) + 1))
    with pytest.raises(WriteFailed):
        store.publish(one)
    with pytest.raises(WriteFailed):
        store.publish(image())
    assert names(store) == {f"{one.id}.part"}


class Crash(BaseException):
    """The process ends here."""


def crash_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The process ends just before its number-th change to the directory."""
    left = [number]

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Crash
            return real(*args, **kwargs)

        return step

    monkeypatch.setattr(os, "link", dying(os.link))
    monkeypatch.setattr(os, "fsync", dying(os.fsync))
    monkeypatch.setattr(Path, "unlink", dying(Path.unlink))
    monkeypatch.setattr(Path, "rename", dying(Path.rename))


@pytest.mark.parametrize("at", range(20))
def test_a_publication_that_crashed_is_finished(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    one = written(store, image())
    with monkeypatch.context() as patch:
        crash_at(patch, at)
        try:
            store.publish(one)
        except Crash:
            visible = [found.id for found in store.images()]
            assert visible in ([], [one.id])
            assert bool(visible) or bool(list(store.halves()))
    store.publish(one)
    assert store.data(one.id).read_bytes() == DATA
    assert names(store) == {f"{one.id}.json", f"{one.id}.qcow2"}


@pytest.mark.parametrize("at", range(20))
def test_a_publication_that_crashed_is_discarded_unless_it_is_visible(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    one = written(store, image())
    with monkeypatch.context() as patch:
        crash_at(patch, at)
        with suppress(Crash):
            store.publish(one)
    visible = [found.id for found in store.images()]
    store.discard(one.id)
    store.discard(one.id)
    assert [found.id for found in store.images()] == visible
    assert names(store) == ({f"{one.id}.json", f"{one.id}.qcow2"} if visible else set())


def test_what_is_withdrawn_is_gone_unless_it_is_another_image(store: DirectoryStore) -> None:
    one = published(store)
    store.withdraw(replace(one, sha256="1" * 64))
    assert store.get(one.id).id == one.id
    store.withdraw(one)
    store.withdraw(one)
    assert names(store) == set()


@pytest.mark.parametrize("at", range(8))
def test_a_deletion_that_crashed_is_finished_at_the_next_start(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    other, one = published(store), published(store)
    with monkeypatch.context() as patch:
        crash_at(patch, at)
        with suppress(Crash):
            store.delete(one.id)
    visible = {found.id for found in store.images()}
    assert visible == ({other.id} if at else {other.id, one.id})
    store.tidy()
    assert {found.id for found in store.images()} == visible
    assert list(store.halves()) == []


def test_deleting_leaves_nothing_and_a_second_time_finds_nothing(store: DirectoryStore) -> None:
    one = published(store)
    store.delete(one.id)
    assert names(store) == set()
    with pytest.raises(ImageNotFound):
        store.delete(one.id)
    with pytest.raises(ImageNotFound):
        store.get(one.id)
    with pytest.raises(ImageNotFound):
        store.data(one.id)


def test_who_still_reads_a_deleted_image_reads_on(store: DirectoryStore) -> None:
    one = published(store)
    with store.data(one.id).open("rb") as reading:
        store.delete(one.id)
        assert reading.read() == DATA


def test_discarding_never_touches_another_image(store: DirectoryStore) -> None:
    other = published(store)
    store.discard(str(uuid.uuid4()))
    store.discard(other.id)
    assert store.data(other.id).read_bytes() == DATA


def test_images_are_listed_newest_first(store: DirectoryStore) -> None:
    made = [published(store, created_at=NOON + timedelta(seconds=second)) for second in (5, 1, 9, 5)]
    expected = sorted(made, key=lambda one: (-one.created_at.timestamp(), one.id))
    assert [one.id for one in store.images()] == [one.id for one in expected]


def test_a_listing_follows_what_others_do_to_the_directory(store: DirectoryStore) -> None:
    one = published(store)
    assert len(list(store.images())) == 1
    other = DirectoryStore(store.path)
    two = published(other, created_at=NOON + timedelta(seconds=1))
    assert [found.id for found in store.images()] == [two.id, one.id]
    other.delete(one.id)
    assert [found.id for found in store.images()] == [two.id]
    record = store.path / f"{two.id}.json"
    record.write_text(record.read_text().replace("web, after", "web, before"))
    assert next(store.images()).name.startswith("web, before")


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"id": 1}', "\0\0", '{"name": "only"}'])
def test_a_damaged_record_hides_no_other_image(store: DirectoryStore, damage: str) -> None:
    good, bad = published(store), published(store)
    (store.path / f"{bad.id}.json").write_text(damage)
    assert [found.id for found in store.images()] == [good.id]
    with pytest.raises(ImageNotFound):
        store.get(bad.id)
    assert [half.image_id for half in store.halves()] == [bad.id]
    store.delete(bad.id)
    assert names(store) == {f"{good.id}.json", f"{good.id}.qcow2"}


def test_a_record_cannot_name_a_file_elsewhere(store: DirectoryStore, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("host secret")
    one = published(store)
    record = store.path / f"{one.id}.json"
    fields = json.loads(record.read_text())
    record.write_text(json.dumps(fields | {"file": "../secret"}))
    assert store.data(one.id).read_bytes() == DATA
    record.write_text(json.dumps(fields | {"disk_format": "x/../../secret"}))
    with pytest.raises(ImageNotFound):
        store.data(one.id)
    record.write_text(json.dumps(fields))
    store.data(one.id).unlink()
    (store.path / f"{one.id}.qcow2").symlink_to(tmp_path / "secret")
    with pytest.raises(ImageNotFound):
        store.data(one.id)


@pytest.mark.parametrize("name", ["", "..", "../../etc/passwd", "A" * 36, "{0}", str(uuid.uuid4()).upper(), "1"])
def test_an_id_that_is_no_uuid_never_becomes_a_path(store: DirectoryStore, name: str) -> None:
    calls: tuple[Callable[[str], object], ...] = (store.part, store.get, store.data, store.delete, store.discard)
    for call in calls:
        with pytest.raises(ImageNotFound):
            call(name)
    with pytest.raises(ImageNotFound):
        store.publish(image(id=name))


@pytest.mark.parametrize("form", [None, "", "json", "part", "gone", "../x", "a b"])
def test_a_format_that_cannot_end_a_file_name_is_refused(store: DirectoryStore, form: str | None) -> None:
    one = written(store, image(disk_format=form))
    with pytest.raises((ValueError, StillframeError)):
        store.publish(one)
    assert names(store) == {f"{one.id}.part"}


def test_halves_say_what_is_wrong(store: DirectoryStore) -> None:
    writing, torn, empty = written(store, image()), published(store), published(store)
    store.data(torn.id).write_bytes(DATA[:5])
    store.data(empty.id).unlink()
    lonely = str(uuid.uuid4())
    (store.path / f"{lonely}.raw").touch()
    (store.path / "README").touch()
    reasons = {half.image_id: half.reason for half in store.halves()}
    assert reasons.keys() == {writing.id, torn.id, empty.id, lonely}
    assert "being written" in reasons[writing.id]
    assert "5 bytes" in reasons[torn.id]
    assert "missing" in reasons[empty.id]
    assert "record is missing" in reasons[lonely]


def test_of_many_that_publish_the_same_image_one_does_it_and_all_agree(store: DirectoryStore) -> None:
    one = written(store, image())
    stores = [DirectoryStore(store.path) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda other: _outcome(other.publish, one), stores))
    assert results.count("done") >= 1
    assert set(results) <= {"done", "WriteFailed"}  # who looks between two steps finds the part gone, and may try again
    assert store.data(one.id).read_bytes() == DATA
    assert names(store) == {f"{one.id}.json", f"{one.id}.qcow2"}


def test_publishing_and_deleting_at_once_leaves_all_or_nothing(store: DirectoryStore) -> None:
    for _ in range(20):
        one = published(store)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda call: _outcome(call[0], call[1]), ((store.publish, one), (store.delete, one.id))))
        assert not [half for half in store.halves() if half.image_id == one.id]


def _outcome(call: Callable[[Any], None], argument: Any) -> str:
    try:
        call(argument)
    except StillframeError as error:
        return type(error).__name__
    return "done"


def test_a_directory_that_is_not_there_is_unusable(tmp_path: Path) -> None:
    missing = DirectoryStore(tmp_path / "missing")
    calls: tuple[Callable[[], object], ...] = (missing.check, missing.free, lambda: list(missing.images()))
    for call in calls:
        with pytest.raises(StoreUnusable):
            call()
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnusable):
        DirectoryStore(tmp_path / "file").prepare()


def test_preparing_twice_changes_nothing(store: DirectoryStore) -> None:
    one = published(store)
    store.prepare()
    store.check()
    assert names(store) == {f"{one.id}.json", f"{one.id}.qcow2"}
    assert store.free() > 0


# --------------------------------------------------------------------------------------- images that are elsewhere


class Shelf:
    """Bytes elsewhere, that can be in use or out of reach."""

    def __init__(self) -> None:
        self.removed: list[str] = []
        self.error: StillframeError | None = None

    def expect(self, image: Image) -> None:
        if image.id in self.removed:
            raise ImageNotFound(image=image.id)

    def remove(self, image: Image) -> None:
        if self.error:
            raise self.error
        self.removed.append(image.id)


PLACE = RbdPlace("vms", "i", ("10.0.0.1",), "nova", "457eb676-33da-42ec-9a8c-9293d545c337")


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def lending(tmp_path: Path, shelf: Shelf) -> DirectoryStore:
    made = DirectoryStore(tmp_path / "images", shelf, rbd_locations=True)
    made.prepare()
    return made


def located(store: DirectoryStore) -> Image:
    one = image(disk_format="raw", sha256=None, location="rbd://f/vms/i/snap", place=PLACE)
    store.publish(one)
    return one


def test_an_image_with_a_location_has_a_record_and_no_file(lending: DirectoryStore) -> None:
    one = located(lending)
    lending.publish(one)
    assert names(lending) == {f"{one.id}.json"}
    assert lending.get(one.id) == replace(one, status="active")
    assert [found.id for found in lending.images()] == [one.id]
    assert list(lending.halves()) == []
    with pytest.raises(ImageElsewhere):
        lending.data(one.id)


def test_another_location_does_not_replace_it(lending: DirectoryStore) -> None:
    one = located(lending)
    with pytest.raises(ImageExists):
        lending.publish(replace(one, location="rbd://f/images/i/snap"))


def test_deleting_it_removes_its_bytes_too(lending: DirectoryStore, shelf: Shelf) -> None:
    one = located(lending)
    lending.delete(one.id)
    assert (names(lending), shelf.removed) == (set(), [one.id])


@pytest.mark.parametrize("reachable", [True, False])
def test_once_deleted_it_is_not_published_again(reachable: bool, lending: DirectoryStore, shelf: Shelf) -> None:
    """As an agent would that was killed when its image was visible."""
    one = located(lending)
    shelf.error = None if reachable else CephUnreachable(monitors="10.0.0.1", seconds=1)
    lending.delete(one.id)
    with pytest.raises(ImageNotFound):
        lending.publish(one)
    assert list(lending.images()) == []


def test_it_stays_as_it_was_while_clones_need_it(lending: DirectoryStore, shelf: Shelf) -> None:
    one = located(lending)
    shelf.error = ImageInUse(image=one.id, count=2)
    with pytest.raises(ImageInUse):
        lending.delete(one.id)
    assert lending.get(one.id).location == one.location
    assert names(lending) == {f"{one.id}.json"}


def test_bytes_that_are_out_of_reach_are_removed_later(lending: DirectoryStore, shelf: Shelf) -> None:
    one = located(lending)
    shelf.error = CephUnreachable(monitors="10.0.0.1", seconds=1)
    lending.delete(one.id)
    assert list(lending.images()) == []
    lending.tidy()
    lending.discard(one.id)
    assert names(lending) == {f"{one.id}.gone"}  # it knows where they are
    shelf.error = None
    lending.tidy()
    assert (names(lending), shelf.removed) == (set(), [one.id])


def test_locations_are_taken_where_the_operator_wants_them_only(store: DirectoryStore, lending: DirectoryStore) -> None:
    assert "rbd_locations" in (store.location_obstacle("f", "vms") or "")
    assert lending.location_obstacle("f", "vms") is None
