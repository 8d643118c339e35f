"""Captures that are Cinder's snapshots, as the host sees them: it waits, holds the guest still, and uploads no byte."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import pytest

from stillframe.capture.held import HeldDisk, Hold
from stillframe.capture.sources import volumes
from stillframe.capture.timeline import Timeline
from stillframe.capture.transfers.record import Record
from stillframe.capture.uploads import Uploads
from stillframe.capture.work import Work
from stillframe.datapath.control import Control
from stillframe.errors.capture import DeadlineExceeded, Superseded
from stillframe.errors.cinder import VolumesInMotion
from stillframe.errors.service import ControllerUnreachable
from stillframe.model import Consistency, Instant, Ticket
from tests.unit.capture.ceph_scene import on_rbd, subject

IDS = ("2f6c9f0e-1d2c-4f3a-8e1b-7a9b0c1d2e3f", "2f6c9f0e-1d2c-4f3a-8e1b-7a9b0c1d2e40")


def work(count: int = 1, *, stand_still: object = None, seconds: float = 5, live: bool = True, **options: Any) -> Work:
    """Of an instance with so many volumes, whose controller answers `stand_still` so."""
    disks = tuple(on_rbd(target=f"vd{letter}", serial=id_) for letter, id_ in zip("ab", IDS, strict=True))[:count]
    of = subject(disks[0], live=live)
    made = SimpleNamespace(
        subject=replace(of, instance=replace(of.instance, disks=disks, flavor="m1.tiny")),
        controller=mock.Mock(stand_still=mock.Mock(side_effect=stand_still)),
        control=Control(),
        timeline=Timeline(),
        uploads=Uploads(),
        capture_id=of.capture_id,
        attempt="a1",
        tools=SimpleNamespace(
            options=SimpleNamespace(freeze_timeout=seconds, pause_for_volumes=False, transfer_stall=5, **options),
            glance=mock.Mock(open=mock.Mock(return_value=Ticket("queued", "sha512"))),
        ),
    )
    return cast("Work", made)


def test_the_snapshots_are_waited_for_whoever_is_away_for_a_moment() -> None:
    waiting = work(stand_still=[False, ControllerUnreachable(reason="away"), False, True])
    volumes._await_snapshots(waiting)
    assert cast("Any", waiting.controller).stand_still.call_args_list == [mock.call(waiting.capture_id, "a1")] * 4


def test_a_capture_that_is_to_stop_lets_the_guest_go_on_at_once() -> None:
    with pytest.raises(Superseded):
        volumes._await_snapshots(work(stand_still=Superseded(reason="it is to stop")))


def test_the_guest_stands_still_no_longer_than_it_may() -> None:
    with pytest.raises(DeadlineExceeded, match="all volumes"):
        volumes._await_snapshots(work(stand_still=lambda *_: False, seconds=0.15))


def test_several_volumes_of_a_guest_that_cannot_be_frozen_are_of_no_instant() -> None:
    with pytest.raises(VolumesInMotion, match="could not be frozen"), volumes._otherwise_still(work(2), []):
        pytest.fail("nothing may be taken")


@pytest.mark.parametrize(("count", "live"), [(1, True), (2, False)], ids=["one volume", "nobody writes"])
def test_where_nothing_has_to_be_frozen(count: int, *, live: bool) -> None:
    with volumes._otherwise_still(work(count, live=live), []):
        pass


def test_an_upload_of_no_byte_begins_when_it_may_end() -> None:
    made = work()
    store = cast("Any", made.tools.glance)
    hold = Hold("volumes", Instant(datetime.now(UTC), Consistency.CRASH), (HeldDisk(made.subject.wanted[0]),))
    [result] = Record().run(made, hold)
    assert (result.size, result.hashes) == (0, {"sha512": hashlib.sha512().hexdigest()})
    assert store.open.call_args.args[2].properties["stillframe_source"] == "volumes"
    store.upload.assert_not_called()
    assert made.uploads.complete(result.id) is None
    [to, _] = store.upload.call_args.args
    assert (to.image_id, to.length) == (result.id, 0)
    store.upload.return_value.complete.assert_called_once_with()
