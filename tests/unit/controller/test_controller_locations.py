"""What becomes of a location that Glance takes at once, later, the old way, or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from stillframe.controller.locations import IN_HAND, Locations, rbd_stores
from stillframe.errors.base import StillframeError
from stillframe.errors.glance import GlanceFailed, ImageDiffers, ImageForbidden, LocationRefused, NoStoreInGlance
from stillframe.images.glance import Glance, Record
from stillframe.model import Image, now

FSID = "0f5c0a1e-0000-4000-8000-000000000001"
ID = "6c1f8c0a-2e5d-4a55-8f0b-2a1c3d4e5f60"
URL = f"rbd://{FSID}/vms/{ID}/snap"
IMAGE = Image(ID, "golden", "active", now(), now(), disk_format="raw", size=1 << 30, location=URL)
DESCRIBED = {"disk_format": "raw", "container_format": "bare"}
STORES: list[Record] = [
    {"id": "plain", "type": "file", "properties": {"data_dir": "/images"}},
    {"id": "disks", "type": "rbd", "properties": {"fsid": FSID, "pool": "vms"}},
    {"id": "unknown", "type": "rbd", "properties": {"fsid": None, "pool": "images"}},
]


@dataclass
class Recorded:
    """Glance, as it is in the memory of this test; each failure of `refusals` is for the call of its name."""

    record: Record = field(default_factory=lambda: {"status": "queued", "size": None})
    refusals: dict[str, StillframeError] = field(default_factory=dict)
    told: list[Record] = field(default_factory=list)  # its tasks
    at: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def get(self, image_id: str) -> Record:
        return dict(self.record)

    def update(self, image_id: str, values: Record) -> None:
        self._ask("update")
        self.record |= values

    def add_location(self, image_id: str, url: str) -> None:
        self._ask("add_location")
        self.record[IN_HAND] = "a task"
        self.at = [url]

    def set_location(self, image_id: str, url: str) -> None:
        self._ask("set_location")
        self.record |= {"status": "active", "size": IMAGE.size, "locations": [{"url": url}]}

    def locations(self, image_id: str) -> list[str]:
        self._ask("locations")
        return self.at

    def tasks(self, image_id: str) -> list[Record]:
        self._ask("tasks")
        return self.told

    def stores(self) -> list[Record]:
        self._ask("stores")
        return STORES

    def store_names(self) -> set[str]:
        self._ask("store_names")
        return {store["id"] for store in STORES}

    def done(self) -> None:
        """Its task has ended well."""
        del self.record[IN_HAND]
        self.record |= {"status": "active", "size": IMAGE.size}

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if what in self.refusals:
            raise self.refusals[what]


def refused(what: str) -> dict[str, StillframeError]:
    return {what: ImageForbidden(what="take a location", reason="no")}


def published(glance: Recorded) -> str:
    return Locations(cast("Glance", glance)).publish(IMAGE, glance.get(ID), DESCRIBED)


def test_a_location_is_given_once_and_then_waited_for() -> None:
    glance = Recorded()
    assert [published(glance), published(glance)] == ["importing", "importing"]
    glance.done()
    assert published(glance) == "active"
    assert glance.asked == ["tasks", "update", "add_location", "locations"]
    assert glance.record["container_format"] == "bare"


def test_a_glance_that_shows_locations_is_given_it_the_old_way() -> None:
    glance = Recorded({"status": "queued", "locations": []}, refused("add_location"))
    assert published(glance) == "active"


@pytest.mark.parametrize("record", [{"status": "queued"}, {"status": "queued", "locations": []}], ids=["new", "old"])
def test_a_location_that_is_refused_is_told_with_the_reason(record: dict[str, Any]) -> None:
    glance = Recorded(record, refused("add_location") | refused("set_location"))
    with pytest.raises(LocationRefused) as caught:
        published(glance)
    assert "does not allow to take a location: no" in caught.value.fault.message


def test_a_location_that_glance_could_not_use_later_is_refused() -> None:
    task = {"type": "location_import", "status": "failure", "message": "Invalid location"}
    with pytest.raises(LocationRefused) as caught:
        published(Recorded(told=[{"type": "import", "status": "failure", "message": "x"}, task]))
    assert caught.value.fault.operator == "Invalid location"


def test_a_glance_that_tells_no_tasks_is_believed() -> None:
    assert published(Recorded(refusals=refused("tasks"))) == "importing"


def test_what_passes_is_no_refusal() -> None:
    """Who asks tries again, and does not give up the clone."""
    glance = Recorded(refusals={"add_location": GlanceFailed(what="take a location", answer=503)})
    with pytest.raises(GlanceFailed):
        published(glance)


def test_a_second_one_at_the_same_time_does_no_harm() -> None:
    glance = Recorded(refusals=refused("add_location"))
    shown = glance.get(ID)
    glance.record[IN_HAND] = "the first one's"
    assert Locations(cast("Glance", glance)).publish(IMAGE, shown, DESCRIBED) == "importing"


@pytest.mark.parametrize(("size", "at"), [(1, [URL]), (IMAGE.size, ["rbd://elsewhere"])])
def test_a_record_that_got_other_data_meanwhile_is_not_this_image(size: int, at: list[str]) -> None:
    with pytest.raises(ImageDiffers) as caught:
        published(Recorded({"status": "active", "size": size}, at=at))
    assert "rbd://" not in caught.value.fault.message


def test_stores_are_known_by_where_they_are() -> None:
    assert rbd_stores(STORES) == {(FSID, "vms"): "disks"}
    glance = Recorded()
    locations = Locations(cast("Glance", glance))
    for _ in range(2):
        locations.expect_store(FSID, "vms")
    assert glance.asked == ["stores"]
    with pytest.raises(NoStoreInGlance) as caught:
        locations.expect_store(FSID, "volumes")
    assert f"pool volumes of cluster {FSID}; on RBD Glance has disks (pool vms)" in caught.value.fault.operator


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [((), None), (("fast",), "fast"), (("fast", "disks", "plain"), "disks"), (("fast", "slow"), "fast")],
)
def test_uploads_go_to_the_first_wanted_store_that_there_is(wanted: tuple[str, ...], chosen: str | None) -> None:
    assert Locations(cast("Glance", Recorded())).preferred(wanted) == chosen
