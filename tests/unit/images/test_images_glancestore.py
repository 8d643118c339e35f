from __future__ import annotations

import time
from typing import cast

import pytest

from stillframe.cloudoptions import Glance as Options
from stillframe.errors.base import Reported, StillframeError
from stillframe.errors.glance import GlanceUnreachable, ImageDeleted, ImageIncomplete, ImageStuck
from stillframe.images import glancestore
from stillframe.images.glance import Glance
from stillframe.images.glancestore import GlanceStore
from stillframe.model import Image, Ticket, now

IMAGE = Image("11111111-1111-4111-8111-111111111111", "golden", "saving", now(), now())
OPTIONS = Options(backends=(), retries=1, timeout=1, stuck_after=0.3)
AWAY = Reported(GlanceUnreachable(reason="it is restarted").fault)  # as it comes from another process


class Controller:
    """ImagesApi that answers in turn, and says the last word again and again."""

    def __init__(self, *answers: str | StillframeError) -> None:
        self.asked = 0
        self._answers = answers

    def _next(self) -> str:
        answer = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        if isinstance(answer, StillframeError):
            raise answer
        return answer

    def open_upload(self, capture_id: str, attempt: str, image: Image) -> Ticket:
        return Ticket(self._next(), "sha512")

    def expect_location(self, fsid: str, pool: str) -> None:
        self._next()

    def publish_image(self, image: Image) -> str:
        return self._next()

    def image_published(self, image_id: str) -> bool:
        return self._next() == "active"


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glancestore, "POLL", 0.01)


def store(controller: Controller, patience: float = 5) -> GlanceStore:
    return GlanceStore(cast("Glance", None), controller, OPTIONS, patience)


def opened(controller: Controller, patience: float = 5) -> Ticket:
    return store(controller, patience).open("capture", "attempt", IMAGE, time.sleep)


def test_a_record_that_another_upload_has_in_hand_is_waited_for() -> None:
    controller = Controller("saving", AWAY, "saving", "queued")
    assert opened(controller) == Ticket("queued", "sha512")
    assert controller.asked == 4


def test_a_record_that_stays_in_hand_is_stuck() -> None:
    with pytest.raises(ImageStuck) as caught:
        opened(Controller("saving"))
    assert "is 'saving'" in caught.value.fault.message


def test_a_glance_that_stays_away_is_waited_for_so_long_and_no_longer() -> None:
    began = time.monotonic()
    with pytest.raises(Reported):
        opened(Controller(AWAY), patience=0.2)
    assert 0.2 <= time.monotonic() - began < 2


def test_what_is_decided_is_not_asked_again() -> None:
    controller = Controller(ImageDeleted(image=IMAGE.id))
    with pytest.raises(ImageDeleted):
        opened(controller)
    assert controller.asked == 1


def test_an_image_is_published_once_glance_says_so() -> None:
    controller = Controller("saving", AWAY, "active")
    store(controller).publish(IMAGE)
    assert controller.asked == 3


@pytest.mark.parametrize("state", ["queued", "saving"])
def test_an_image_that_did_not_get_its_last_bytes_is_none(state: str) -> None:
    with pytest.raises(ImageIncomplete):
        store(Controller(state)).publish(IMAGE)
