"""Which way is chosen for disks on RBD, and what is said of those that are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from stillframe import config
from stillframe.capture import planner
from stillframe.capture import subject as subjects
from stillframe.capture.subject import Subject
from stillframe.errors.base import StillframeError
from stillframe.errors.ceph import CephUnreachable
from stillframe.errors.glance import GlanceUnreachable, NoStoreInGlance
from stillframe.images.desk import NobodyAtDesk
from stillframe.images.directory import DirectoryStore
from stillframe.images.glance import Glance
from stillframe.images.glancestore import GlanceStore
from stillframe.model import Disk, DiskKind, ImageRequest, Layer, RbdPlace
from tests.unit.capture.ceph_scene import EAST, IMAGE, Scene, on_rbd, subject


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path, rbd_locations=True)


class Desk(NobodyAtDesk):
    """A controller that knows whether Glance takes a location, and nothing else."""

    def __init__(self, obstacle: StillframeError | None) -> None:
        self._obstacle = obstacle

    def expect_location(self, fsid: str, pool: str) -> None:
        if self._obstacle is not None:
            raise self._obstacle


def glance(obstacle: StillframeError | None = None) -> GlanceStore:
    return GlanceStore(cast("Glance", None), Desk(obstacle), config.load(files=[]).glance, 1)


def ways(scene: Scene, store: DirectoryStore | GlanceStore, what: Subject) -> list[str]:
    return [f"{choice.source.name}+{choice.transfer.name}" for choice in planner.plan(what, scene.tools(store))]


def refusals(scene: Scene, store: DirectoryStore | GlanceStore, what: Subject) -> str:
    return "; ".join(planner.plan(what, scene.tools(store))[0].way.refused)


def test_a_disk_on_rbd_is_cloned_and_streamed_if_that_fails(store: DirectoryStore) -> None:
    assert ways(Scene(), store, subject(on_rbd())) == ["snapshot+clone", "snapshot+directory", "backup+directory"]
    assert ways(Scene(), store, subject(on_rbd(), live=False)) == ["snapshot+clone", "snapshot+directory"]


def test_a_store_that_takes_no_location_has_the_snapshot_streamed(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    assert ways(Scene(), store, subject(on_rbd()))[0] == "snapshot+directory"
    assert "snapshot+clone: the image directory takes no locations" in refusals(Scene(), store, subject(on_rbd()))


def test_an_image_that_is_to_be_qcow2_is_no_clone(store: DirectoryStore) -> None:
    wanted = subject(on_rbd(), disk_format="qcow2", wished=True)
    assert ways(Scene(), store, wanted)[0] == "snapshot+directory"


def test_a_cluster_that_is_out_of_reach_is_left_to_qemu(store: DirectoryStore) -> None:
    scene = Scene(error=CephUnreachable(monitors="10.0.0.1", seconds=10))
    assert ways(scene, store, subject(on_rbd())) == ["backup+directory"]
    [refusal, *_] = planner.plan(subject(on_rbd()), scene.tools(store))[0].refused
    assert str(refusal) == "snapshot: A Ceph cluster did not answer within 10 seconds"
    assert refusal.operator == "monitors 10.0.0.1"


@pytest.mark.parametrize(
    ("disk", "said"),
    [
        (on_rbd(encryption="LUKS"), "encrypted"),
        (on_rbd(chain=(replace(on_rbd().top, format="qcow2"),)), "qcow2 on RBD"),
        (on_rbd(chain=(Layer("/d/top", "qcow2"), on_rbd().top)), "no RBD image"),
        (on_rbd(chain=(replace(on_rbd().top, rbd=None),)), ""),
    ],
    ids=["encrypted", "qcow2", "backing", "namespace"],
)
def test_what_is_not_rbd_alone_is_left_to_qemu(disk: Disk, said: str, store: DirectoryStore) -> None:
    assert ways(Scene(), store, subject(disk)) == ["backup+directory"]
    assert said in refusals(Scene(), store, subject(disk))


def test_the_stores_pool_is_for_its_own_cluster(store: DirectoryStore) -> None:
    into_store = replace(Scene().options, target_pool="store", store_cluster="west")
    assert ways(Scene(into_store), store, subject(on_rbd()))[0] == "snapshot+clone"
    elsewhere = Scene(into_store, store_fsid=EAST)
    assert ways(elsewhere, store, subject(on_rbd()))[0] == "snapshot+directory"
    assert "another Ceph cluster" in refusals(elsewhere, store, subject(on_rbd()))
    unset = Scene(replace(into_store, store_cluster=None))
    assert "store_cluster is not set" in refusals(unset, store, subject(on_rbd()))


def test_files_are_converted_where_that_is_wanted(store: DirectoryStore) -> None:
    disk = Disk("vda", (Layer("/d/disk", "qcow2", DiskKind.FILE),), size=1 << 30)
    converting = Scene(replace(Scene().options, convert_ceph_raw_for_qcow2=True, store_cluster="west"))
    assert ways(converting, store, subject(disk, disk_format="qcow2"))[0] == "backup+import"
    assert ways(converting, store, subject(disk, live=False, disk_format="qcow2"))[0] == "offline+import"
    assert ways(converting, store, subject(disk, disk_format="qcow2", wished=True))[0] == "backup+directory"
    assert "import" not in refusals(Scene(), store, subject(disk, disk_format="qcow2"))


def test_a_snapshot_of_another_cluster_is_imported(store: DirectoryStore) -> None:
    options = replace(Scene().options, target_pool="store", store_cluster="east", convert_ceph_raw_for_qcow2=True)
    assert ways(Scene(options, store_fsid=EAST), store, subject(on_rbd()))[0] == "snapshot+import"


def test_into_glance_a_disk_on_rbd_is_cloned_and_uploaded_if_that_fails() -> None:
    assert ways(Scene(), glance(), subject(on_rbd())) == ["snapshot+clone", "snapshot+upload", "backup+upload"]


@pytest.mark.parametrize(
    ("obstacle", "said"),
    [
        (NoStoreInGlance(pool="vms", fsid=EAST, stores="none"), "Glance has no store in the image's Ceph pool"),
        (GlanceUnreachable(reason="it is restarted"), "it is restarted"),
    ],
    ids=["no store", "away"],
)
def test_what_glance_takes_no_location_of_is_uploaded(obstacle: StillframeError, said: str) -> None:
    assert ways(Scene(), glance(obstacle), subject(on_rbd()))[0] == "snapshot+upload"
    assert said in refusals(Scene(), glance(obstacle), subject(on_rbd()))
    assert "vms" not in refusals(Scene(), glance(obstacle), subject(on_rbd()))


def test_glance_deletes_images_by_itself_so_none_stays_tied_to_its_disk() -> None:
    scene = Scene(replace(Scene().options, flatten="never"))
    assert ways(scene, glance(), subject(on_rbd()))[0] == "snapshot+upload"
    assert "flatten is never" in refusals(scene, glance(), subject(on_rbd()))


# ---------------------------------------------------------------------------------------------- volumes of Cinder's


def test_an_image_of_snapshots_of_volumes_has_one_way_and_no_other_has_it(store: DirectoryStore) -> None:
    wanted = subject(on_rbd())
    assert ways(Scene(), store, replace(wanted, volumes=True)) == ["volumes+record"]
    assert "volumes+record" not in ways(Scene(), store, wanted)


VOLUME = "2f6c9f0e-1d2c-4f3a-8e1b-7a9b0c1d2e3f"
CINDERS = RbdPlace("volumes", "volume-1", ("10.0.0.9:6789",), "cinder", "s")


def test_a_definition_without_monitors_has_cinders() -> None:
    nowhere = RbdPlace("volumes", f"volume-{VOLUME}")
    disk = on_rbd(chain=(replace(on_rbd().top, rbd=nowhere),))
    reached = subjects._reached(disk, ImageRequest(IMAGE, "image", place=CINDERS)).top.rbd
    assert reached == replace(CINDERS, image=nowhere.image)


@pytest.mark.parametrize("known", [None, CINDERS])
def test_a_definition_with_monitors_or_a_ceph_conf_stays_as_it_is(known: RbdPlace | None) -> None:
    for disk in (on_rbd(), on_rbd(chain=(replace(on_rbd().top, rbd=RbdPlace("p", "i", conf="/c")),))):
        assert subjects._reached(disk, ImageRequest(IMAGE, "image", place=known)) == disk


def test_serials_are_volumes_in_novas_domains_only() -> None:
    disks = (on_rbd(target="vdb", serial=VOLUME), on_rbd(serial="disk-1"), on_rbd(target="vdc", serial=VOLUME[::-1]))
    instance = replace(subject(on_rbd()).instance, disks=disks, root="vda", flavor="m1.tiny")
    assert (list(instance.volumes), instance.root_volume) == ([VOLUME], None)
    assert replace(instance, root="vdb").root_volume == VOLUME
    assert replace(instance, root="vdb", flavor=None).volumes == {}
