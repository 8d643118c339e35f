"""The directory store on filesystems that are full or may not be written."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lab.tools import tool
from stillframe.errors.capture import WriteFailed
from stillframe.errors.service import StoreUnusable
from stillframe.images.directory import DirectoryStore
from stillframe.model import Image

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def store(tmp: Path) -> Iterator[DirectoryStore]:
    """A store of 1 MiB."""
    point = tmp / "images"
    point.mkdir()
    tool("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", point)
    made = DirectoryStore(point)
    made.prepare()
    yield made
    tool("umount", point)


def image(size: int) -> Image:
    return Image(str(uuid.uuid4()), "full", "saving", NOON, NOON, disk_format="raw", size=size, virtual_size=size)


def test_no_room_for_the_record_is_an_error_and_leaves_no_image(store: DirectoryStore) -> None:
    one = image(store.free())
    store.part(one.id).write_bytes(bytes(store.free()))
    with pytest.raises(WriteFailed) as failed:
        store.publish(one)
    assert "No space" in failed.value.fault.message
    assert list(store.images()) == []
    assert {half.image_id for half in store.halves()} == {one.id}
    store.discard(one.id)
    assert store.free() > 1 << 19
    assert list(store.halves()) == []


def test_an_image_can_be_deleted_from_a_full_store(store: DirectoryStore) -> None:
    one = image(4096)
    store.part(one.id).write_bytes(bytes(4096))
    store.publish(one)
    (store.path / "filler").write_bytes(bytes(store.free()))
    store.delete(one.id)
    assert store.free() >= 4096


def test_a_store_that_may_not_be_written_is_unusable(store: DirectoryStore) -> None:
    tool("mount", "-o", "remount,ro", store.path)
    with pytest.raises(StoreUnusable):
        store.check()
    with pytest.raises(StoreUnusable):
        store.prepare()
    with pytest.raises(WriteFailed):
        store.discard(str(uuid.uuid4()))
