"""Where the host that holds the guest still and the process that asks Cinder find each other."""

from __future__ import annotations

import pytest

from stillframe.controller.captures import Captures
from stillframe.controller.database import Database
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.controller.volumesets import VolumeSets
from stillframe.errors.base import Reported
from stillframe.errors.capture import InstantLost, Superseded
from stillframe.errors.cinder import SnapshotsLate, VolumeQuotaExceeded
from stillframe.model import Phase, Wishes
from tests.unit.controller.scene import instance, inventory, report, request, told

NAMED = {"block_device_mapping": "[]"}


@pytest.fixture
def sets(db: Database) -> VolumeSets:
    return VolumeSets(db)


@pytest.fixture
def capture(captures: Captures, endpoint: ControllerEndpoint) -> str:
    web = instance()
    endpoint.heartbeat(inventory(web))
    return captures.accept(request(web, wishes=Wishes(volumes=True))).id


@pytest.fixture
def attempt(capture: str, endpoint: ControllerEndpoint) -> str:
    return endpoint.begin(capture, "one", "run-1")


def test_from_standing_still_to_going_on(
    capture: str, attempt: str, endpoint: ControllerEndpoint, sets: VolumeSets
) -> None:
    assert sets.standing(capture) is None
    assert not endpoint.stand_still(capture, attempt)
    assert sets.standing(capture) == attempt
    sets.taken(capture, attempt, NAMED)
    assert endpoint.stand_still(capture, attempt)
    assert not sets.held(capture)
    told(endpoint, report(capture, attempt, Phase.HELD))
    assert sets.held(capture)


def test_what_stands_against_it_is_heard_by_the_host(
    capture: str, attempt: str, endpoint: ControllerEndpoint, captures: Captures, sets: VolumeSets
) -> None:
    endpoint.stand_still(capture, attempt)
    captures.stop(capture, VolumeQuotaExceeded(what="take it", reason="too many").fault)
    with pytest.raises(Superseded, match="has no room to take it"):
        endpoint.stand_still(capture, attempt)
    with pytest.raises(Reported, match="has no room"):
        sets.standing(capture)


def test_snapshots_of_an_earlier_attempt_are_no_instant_of_the_next(
    capture: str, attempt: str, endpoint: ControllerEndpoint, sets: VolumeSets
) -> None:
    endpoint.stand_still(capture, attempt)
    sets.taken(capture, attempt, NAMED)
    again = endpoint.begin(capture, "one", "run-2")
    with pytest.raises(Superseded):
        endpoint.stand_still(capture, attempt)
    with pytest.raises(InstantLost):
        endpoint.stand_still(capture, again)


def test_snapshots_that_nobody_takes_any_more_are_not_waited_for(
    capture: str, attempt: str, endpoint: ControllerEndpoint, sets: VolumeSets
) -> None:
    sets.close(capture)
    with pytest.raises(InstantLost):
        endpoint.stand_still(capture, attempt)


def test_snapshots_for_nobody_are_late(capture: str, attempt: str, sets: VolumeSets) -> None:
    with pytest.raises(SnapshotsLate):
        sets.taken(capture, attempt, NAMED)
