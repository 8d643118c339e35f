"""Flattening in the background: begun once, told of while it goes on, begun anew after a failure."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest

from lab.wait import until
from stillframe import config
from stillframe.capture import flattening
from stillframe.capture.flattening import AT_ONCE, Flattening
from stillframe.datapath.control import Control
from stillframe.disks.ceph import Ceph
from stillframe.errors.base import StillframeError
from stillframe.errors.ceph import BeingGivenBack, CephUnreachable, RbdMissing
from stillframe.model import RbdPlace
from tests.unit.capture.ceph_scene import PLACE, WEST, Clusters


class Copying:
    """Stands for librbd's flatten: copies half, then waits to be told how it ends."""

    def __init__(self) -> None:
        self.begun = 0
        self.most = 0
        self.controls: list[Control] = []
        self.over = threading.Event()
        self.error: StillframeError | None = None
        self._now = 0
        self._lock = threading.Lock()

    def __call__(self, _cluster: object, _image: object, control: Control) -> None:
        with self._lock:
            self.begun += 1
            self._now += 1
            self.most = max(self.most, self._now)
            self.controls.append(control)
        control.meter.expect(100)
        control.meter.add(50)
        try:
            while not self.over.wait(0.01):
                control.check()
            if self.error:
                raise self.error
        finally:
            with self._lock:
                self._now -= 1


@pytest.fixture
def copying(monkeypatch: pytest.MonkeyPatch) -> Copying:
    stand_in = Copying()
    monkeypatch.setattr(flattening, "flatten", stand_in)
    return stand_in


@pytest.fixture
def made(copying: Copying) -> Iterator[Flattening]:
    clusters: Any = Clusters(config.load(files=[]).ceph)
    flattening_ = Flattening(cast("Ceph", clusters), stall=10)
    yield flattening_
    flattening_.close()


def told(made: Flattening, place: RbdPlace = PLACE) -> str:
    with pytest.raises(BeingGivenBack) as caught:
        made.expect_flat(place, WEST)
    return caught.value.fault.message


def flat(made: Flattening) -> bool:
    try:
        made.expect_flat(PLACE, WEST)
    except BeingGivenBack:
        return False
    return True


def test_it_is_begun_once_and_tells_how_far_it_is(made: Flattening, copying: Copying) -> None:
    told(made)
    until(lambda: "50 %" in told(made), 5, "progress to be told")
    copying.over.set()
    until(lambda: flat(made), 5, "the image to be flat")
    assert copying.begun == 1


def test_an_image_that_was_deleted_needs_it_no_more(made: Flattening, copying: Copying) -> None:
    told(made)
    copying.error = RbdMissing(what="image vms/disk")
    copying.over.set()
    until(lambda: flat(made), 5, "nothing to be left to do")


def test_a_failure_is_told_once_and_then_it_begins_anew(made: Flattening, copying: Copying) -> None:
    told(made)
    copying.error = CephUnreachable(monitors="10.0.0.1", seconds=10)
    copying.over.set()

    def failed() -> bool:
        try:
            made.expect_flat(PLACE, WEST)
        except CephUnreachable:
            return True
        except BeingGivenBack:
            return False
        raise AssertionError("it is not flat")

    until(failed, 5, "the failure to be told")
    copying.error = None
    until(lambda: flat(made), 5, "the image to be flat")
    assert copying.begun == 2


def test_only_a_few_are_at_work_and_the_others_wait(made: Flattening, copying: Copying) -> None:
    places = [RbdPlace("vms", str(number)) for number in range(AT_ONCE + 2)]
    for place in places:
        told(made, place)
    until(lambda: copying.begun == AT_ONCE, 5, "those at work to have begun")
    assert "waits its turn" in told(made, places[-1])
    copying.over.set()
    until(lambda: copying.begun == len(places), 5, "all to have had their turn")
    assert copying.most == AT_ONCE


def test_ending_it_stops_the_copying(made: Flattening, copying: Copying) -> None:
    told(made)
    until(lambda: copying.begun, 5, "it to have begun")
    made.end(PLACE, WEST)
    with pytest.raises(StillframeError):
        copying.controls[0].check()
    made.end(PLACE, WEST)
