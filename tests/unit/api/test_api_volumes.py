"""What becomes of a request that asks Cinder, when the host and Cinder do what they may do; the host is played here."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lab.wait import until
from stillframe import config
from stillframe.api.call import Call
from stillframe.api.deps import VolumeTools
from stillframe.api.volumes import Volumes
from stillframe.controller.captures import CaptureRequest, Captures
from stillframe.controller.database import Database
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.controller.schema import volume_sets
from stillframe.controller.volumesets import VolumeSets
from stillframe.errors.base import StillframeError
from stillframe.errors.capture import Superseded
from stillframe.errors.cinder import CinderUnreachable, VolumeQuotaExceeded
from stillframe.messaging.inprocess import InProcess
from stillframe.model import Capture, Disk, ImageRequest, Instance, Layer, Phase, Wishes
from tests.unit.controller.scene import OPTIONS, instance, inventory, new_id, report, told

VOLUMES = ("aaaaaaaa-0000-4000-8000-000000000001", "aaaaaaaa-0000-4000-8000-000000000002")
SHOWN: dict[str, dict[str, Any]] = {
    VOLUMES[0]: {"size": 1, "description": "root"},
    VOLUMES[1]: {"size": 2, "description": None},
}


@dataclass
class Cinder:
    """Cinder, which takes a look or two to have a snapshot, and fails on command."""

    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    refusals: dict[str, StillframeError] = field(default_factory=dict)
    states: list[str] = field(default_factory=lambda: ["creating", "available"])

    def snapshot(self, volume_id: str, name: str, description: str | None, image_id: str) -> str:
        if volume_id in self.refusals:
            raise self.refusals[volume_id]
        self.asked.append((volume_id, name, description))
        return f"of-{volume_id}"

    def snapshot_status(self, snapshot_id: str) -> str:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]


@dataclass
class Stage:
    """One capture of an instance with two volumes, accepted."""

    db: Database
    captures: Captures
    endpoint: ControllerEndpoint
    instance: Instance
    capture: Capture
    cinder: Cinder = field(default_factory=Cinder)
    patience: float = 20

    def take(self) -> None:
        access: Any = SimpleNamespace(as_user=lambda *_: self.cinder)
        options = replace(config.load(files=[]).cinder, patience=self.patience)
        caller = SimpleNamespace(auth="a plugin")
        call = cast("Call", SimpleNamespace(caller=caller, request_id="req"))
        tools = VolumeTools(access, VolumeSets(self.db))
        Volumes(tools, options, self.captures).take(call, self.capture, self.instance, SHOWN)

    @contextmanager
    def host(self, act: Callable[[str], None]) -> Iterator[None]:
        """The capture is begun, and the guest stands still until it is told otherwise; `act` is done then."""
        attempt = self.endpoint.begin(self.capture.id, "one", "run-1")

        def play() -> None:
            until(lambda: self.endpoint.stand_still(self.capture.id, attempt), 30, "the snapshots", pause=0.01)
            act(attempt)

        thread = threading.Thread(target=_until_superseded, args=(play,))
        thread.start()
        yield
        thread.join(20)
        assert not thread.is_alive()

    def held(self, attempt: str) -> None:
        told(self.endpoint, report(self.capture.id, attempt, Phase.HELD))

    @property
    def closed(self) -> bool:
        """Whether nobody asks Cinder for more."""
        query = volume_sets.select()
        return bool(self.db.read(lambda connection: connection.execute(query).one()).closed)

    def failed(self, code: str) -> None:
        """Taking fails with this code, which is what the capture is stopped for."""
        with pytest.raises(StillframeError) as caught:
            self.take()
        assert caught.value.fault.code == code
        stopped = self.captures.get(self.capture.id, None)
        why = stopped.fault or stopped.cancel
        assert why is not None
        assert why.code == code


def _until_superseded(play: Callable[[], None]) -> None:
    try:
        play()
    except Superseded:
        return


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    db = Database(f"sqlite:///{tmp_path}/db")
    db.upgrade()
    disks = tuple(
        Disk(target, (Layer(f"rbd:volumes/{volume}", "raw"),), serial=volume, bus="virtio")
        for target, volume in zip(("vda", "vdb"), VOLUMES, strict=True)
    )
    web = instance(disks=disks, flavor="m1.tiny")
    captures, endpoint = Captures(db, InProcess()), ControllerEndpoint(db, OPTIONS)
    endpoint.heartbeat(inventory(web))
    image = ImageRequest(new_id(), "golden")
    wanted = CaptureRequest(
        web.id, None, "ann", "req", action="createImage", name="golden", images=(image,), wishes=Wishes(volumes=True)
    )
    yield Stage(db, captures, endpoint, web, captures.accept(wanted))
    db.close()


def test_all_snapshots_are_asked_for_before_the_first_is_waited_for(stage: Stage) -> None:
    with stage.host(stage.held):
        stage.take()
    assert stage.cinder.asked == [
        (VOLUMES[0], "snapshot for golden", "root"),
        (VOLUMES[1], "snapshot for golden", None),
    ]
    named = stage.db.read(lambda connection: connection.execute(volume_sets.select()).one())
    assert named.closed
    assert (named.properties["bdm_v2"], named.properties["root_device_name"]) == ("True", "/dev/vda")
    devices = json.loads(named.properties["block_device_mapping"])
    assert [
        (each["snapshot_id"], each["device_name"], each["boot_index"], each["volume_size"]) for each in devices
    ] == [
        (f"of-{VOLUMES[0]}", "/dev/vda", 0, 1),
        (f"of-{VOLUMES[1]}", "/dev/vdb", None, 2),
    ]


def test_a_second_snapshot_that_is_refused_stops_the_capture_for_that(stage: Stage) -> None:
    stage.cinder.refusals[VOLUMES[1]] = VolumeQuotaExceeded(what="take it", reason="too many")
    with stage.host(stage.held):
        stage.failed("volume-quota-exceeded")
    assert [volume for volume, *_ in stage.cinder.asked] == [VOLUMES[0]]
    assert stage.closed


def test_a_snapshot_that_cinder_could_not_take(stage: Stage) -> None:
    stage.cinder.states = ["creating", "creating", "error"]
    with stage.host(stage.held):
        stage.failed("snapshot-failed")
    assert stage.closed


def test_what_had_no_answer_may_still_come_about(stage: Stage) -> None:
    stage.cinder.refusals[VOLUMES[1]] = CinderUnreachable(reason="there was no answer in time")
    with stage.host(stage.held):
        stage.failed("cinder-unreachable")
    assert not stage.closed


def test_a_host_that_does_not_come_to_it_in_time(stage: Stage) -> None:
    stage.patience = 0.2
    stage.failed("deadline-exceeded")
    assert stage.cinder.asked == []


def test_a_capture_that_is_cancelled_meanwhile_asks_for_no_more(stage: Stage) -> None:
    stage.captures.cancel(stage.capture.id, None)
    stage.failed("cancelled")
    assert stage.cinder.asked == []


def test_an_attempt_that_ends_while_cinder_is_at_it(stage: Stage) -> None:
    stage.cinder.states = ["creating"]
    with stage.host(stage.held):
        again = threading.Timer(0.3, lambda: stage.endpoint.begin(stage.capture.id, "one", "run-2"))
        again.start()
        stage.failed("snapshots-late")
    assert stage.closed
