"""Several images of one capture, and a store that does not take the location of one."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stillframe.capture import publication
from stillframe.capture.held import Hold
from stillframe.capture.uploads import Uploads
from stillframe.capture.work import Work
from stillframe.errors.base import Reported, StillframeError
from stillframe.errors.capture import WayClosed
from stillframe.errors.glance import LocationRefused
from stillframe.model import Consistency, Image, ImageRequest, ImageResult, Instant, now
from tests.unit.capture.ceph_scene import on_rbd, subject

IMAGES = ("6c1f8c0a-2e5d-4a55-8f0b-2a1c3d4e5f60", "6c1f8c0a-2e5d-4a55-8f0b-2a1c3d4e5f61")


class Refusing:
    """A store that does not take one image's location, as a controller far from here tells it."""

    def __init__(self, refused: str) -> None:
        self._refused = refused
        self.published: list[str] = []

    def publish(self, image: Image) -> None:
        if image.id == self._refused:
            raise Reported(LocationRefused(image=image.id, reason="no").fault)
        self.published.append(image.id)


def publish(store: Refusing) -> None:
    one = subject(on_rbd())
    wanted = tuple(replace(one.wanted[0], image=ImageRequest(image, "image")) for image in IMAGES)
    work: Any = SimpleNamespace(
        subject=replace(one, wanted=wanted), uploads=Uploads(), tools=SimpleNamespace(store=store), capture_id="c"
    )
    hold = Hold("snapshot", Instant(now(), Consistency.CRASH), ())
    publication.publish(cast("Work", work), hold, tuple(ImageResult(image, "raw", 1, 1) for image in IMAGES))


def test_before_anything_is_published_another_way_may_do() -> None:
    store = Refusing(IMAGES[0])

    with pytest.raises(WayClosed, match="does not take the location"):
        publish(store)

    assert store.published == []


def test_once_an_image_is_published_the_refusal_of_another_is_the_end() -> None:
    store = Refusing(IMAGES[1])

    with pytest.raises(StillframeError) as caught:
        publish(store)

    assert caught.value.fault.code == LocationRefused.code
    assert store.published == [IMAGES[0]]
