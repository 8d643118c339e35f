"""Disks on Ceph into Glance: a clone that is an image by its location, or the snapshot streamed up; nothing left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab import blocks, captures, disks, filesystems
from lab.ceph import CephCluster
from lab.domains import NovaMetadata
from lab.factory import Guests
from lab.faulty import Action, Fault
from lab.libvirtd import PrivateLibvirtd
from lab.openstack.glance import BESIDE_DISKS, CAPS, CEPH_USER, ON_CEPH, PLAIN, POOLS
from lab.openstack.stage import POLICY, Stage
from lab.wait import until
from tests.cloud.scene import ALICE, Scene
from tests.real import live_tools as live
from tests.real import rbd_tools as ceph_lab
from tests.real.live_tools import MIB, SIZE, SLOTS, Writing

REFUSED = {**POLICY, "add_image_location": "!"}  # as a Glance without the location API, or without the right to it
Configured = Callable[..., AbstractContextManager[Scene]]


@pytest.fixture(scope="module")
def nova(stage: Stage) -> NovaMetadata:
    """Of Alice's project."""
    return NovaMetadata(name="db", project_id=stage.keystone.project_id("red"))


@pytest.fixture(scope="module")
def writer(ceph: CephCluster, libvirtd: PrivateLibvirtd, nova: NovaMetadata) -> Iterator[Writing]:
    """A guest that writes to its disk on RBD."""
    with live.directory() as path:
        factory = Guests(libvirtd, path)
        disk = ceph_lab.on_rbd(ceph, path, pause_us=20000)
        try:
            yield Writing(factory.writing(disk, nova=nova), disk)
        finally:
            factory.remove()
            ceph_lab.removed(ceph, disk)


@pytest.fixture
def on_rbd(scene: Scene, writer: Writing, ceph: CephCluster) -> Iterator[Scene]:
    """The scene with the guest on RBD, which is unharmed at the end, and nothing is left in any pool."""
    before = ceph.contents()
    captures.known(scene.service, writer.guest)
    yield replace(scene, guest=writer.guest)
    for image in scene.images():
        if image.name != "base":
            scene.deleted(image.id)
    ceph_lab.tidy(scene.service, ceph, before, writer.guest)
    writer.unharmed()


@pytest.fixture
def configured(scene: Scene, libvirtd: PrivateLibvirtd, options: dict[str, Any]) -> Configured:
    """The scene with further options of the service, for as long as it is entered."""

    @contextmanager
    def made(scene: Scene, **groups: dict[str, Any]) -> Iterator[Scene]:
        restarted(scene, {**options, **groups})
        try:
            yield scene
        finally:
            restarted(scene, options)

    def restarted(scene: Scene, options: dict[str, Any]) -> None:
        scene.service.stop()
        scene.service.configure(libvirtd, options)
        scene.service.start()
        captures.known(scene.service, scene.guest)

    return made


@pytest.fixture
def glance(scene: Scene) -> Iterator[Callable[..., None]]:
    """Restarts Glance with other rules and options; as it was at the end."""

    def changed(policy: dict[str, str], **options: object) -> None:
        scene.stage.glance.configure(policy, **options)
        scene.stage.glance.restart()

    yield changed
    changed(POLICY)


def cloned(scene: Scene, ceph: CephCluster, capture: str, tmp: Path) -> dict[str, Any]:
    """The record of a capture whose image is Glance's by its location: both give the same bytes, of one instant."""
    shown = captures.completed(scene.service, capture)
    assert (shown["source"], shown["transfer"]) == ("snapshot", "clone")
    assert [asked.path for asked in scene.proxy.asked if asked.method == "PUT"] == []
    image = scene.image(capture)
    assert (image.status, image.disk_format, image.container_format, image.size) == ("active", "raw", "bare", SIZE)
    assert image.properties["stillframe_consistency"] == "filesystem"
    assert scene.cloud().image.get(f"/images/{capture}").json()["stores"] == BESIDE_DISKS
    [location] = scene.locations(capture)
    assert location == f"rbd://{ceph.fsid}/vms/{capture}/snap"
    data = ceph_lab.exported(ceph, f"vms/{capture}@snap", tmp)
    ceph_lab.consistent(data, shown)
    assert scene.sha512(capture) == ceph_lab.digest(data, "sha512")
    return shown


def test_a_clone_is_glances_by_its_location(on_rbd: Scene, ceph: CephCluster, tmp: Path) -> None:
    image_id = on_rbd.create(color="blue").json()["image_id"]
    shown = cloned(on_rbd, ceph, image_id, tmp)
    assert on_rbd.image(image_id).properties["color"] == "blue"
    assert on_rbd.image(image_id).owner == on_rbd.stage.keystone.project_id("red")
    assert shown["frozen_ms"] > 0
    ceph_lab.flat(on_rbd.service, image_id)
    assert "parent: " not in ceph.rbd("info", f"vms/{image_id}")
    on_rbd.cloud().image.delete_image(image_id, ignore_missing=False)
    assert on_rbd.image(image_id) is None
    assert image_id not in ceph.rbd("ls", "vms")


def test_an_image_is_deleted_while_it_is_made_flat(
    on_rbd: Scene, configured: Configured, ceph: CephCluster, tmp: Path
) -> None:
    with configured(on_rbd, ceph={"flatten_bandwidth": MIB}) as scene:
        capture = scene.begin()
        cloned(scene, ceph, capture, tmp)
        until(lambda: "%" in str(captures.record(scene.service, capture)["held"]), 30, "the flattening to be seen")
        scene.deleted(capture)
        ceph_lab.flat(scene.service, capture)


def test_a_glance_that_shows_locations_takes_them_the_old_way(
    on_rbd: Scene, glance: Callable[..., None], ceph: CephCluster, tmp: Path
) -> None:
    glance(REFUSED, show_multiple_locations=True)
    cloned(on_rbd, ceph, on_rbd.begin(), tmp)


def test_a_location_that_is_refused_has_the_same_snapshot_uploaded(
    on_rbd: Scene, glance: Callable[..., None], ceph: CephCluster
) -> None:
    glance(REFUSED)
    capture = on_rbd.begin()
    shown = captures.completed(on_rbd.service, capture)
    image = on_rbd.whole(capture)
    assert "Glance does not take the location" in captures.told(shown)
    assert on_rbd.cloud().image.get(f"/images/{capture}").json()["stores"] == PLAIN
    assert capture not in ceph.rbd("ls", "vms")
    assert image.size == SIZE
    assert len([step for step in shown["steps"] if step["name"] == "instant"]) == 1


def test_a_location_that_glance_cannot_read_has_the_same_snapshot_uploaded(on_rbd: Scene, ceph: CephCluster) -> None:
    """Its location API says yes, and finds out later."""
    ceph.make_user(CEPH_USER, f"profile rbd pool={POOLS[ON_CEPH]}")
    try:
        capture = on_rbd.begin()
        shown = captures.completed(on_rbd.service, capture)
        on_rbd.whole(capture)
    finally:
        ceph.make_user(CEPH_USER, CAPS)
    assert "Glance does not take the location" in captures.told(shown)
    assert capture not in ceph.rbd("ls", "vms")


@pytest.mark.parametrize(
    "point", ["rbd.snap.after", "call.commit.before", "image.publish.before", "image.publish.after"]
)
def test_killed_before_and_after_the_location_it_goes_on(
    point: str, on_rbd: Scene, ceph: CephCluster, tmp: Path
) -> None:
    service = on_rbd.service
    on_rbd.plan.arm(Fault(point, Action.KILL))
    capture = on_rbd.begin()
    until(lambda: not service.running, 60, f"the service to be killed at {point}")
    on_rbd.plan.disarm()
    service.kill()
    service.start()
    cloned(on_rbd, ceph, capture, tmp)


def test_a_glance_that_fails_is_asked_again(on_rbd: Scene, ceph: CephCluster, tmp: Path) -> None:
    fault = on_rbd.proxy.refuse("POST", "/locations", 503)
    cloned(on_rbd, ceph, on_rbd.begin(), tmp)
    assert fault.done.is_set()


def test_a_glance_that_goes_on_failing_fails_the_capture(on_rbd: Scene) -> None:
    on_rbd.proxy.refuse("POST", "/locations", 503).times = 1000
    capture = on_rbd.begin()
    captures.failed(on_rbd.service, capture, "glance-failed")
    on_rbd.gone(capture)


def test_a_glance_that_is_away_at_the_location_is_waited_for(on_rbd: Scene, ceph: CephCluster, tmp: Path) -> None:
    on_rbd.plan.arm(Fault("image.publish.before", Action.HANG, seconds=3))
    capture = on_rbd.begin()
    until(on_rbd.plan.fired.exists, 60, "the location to be due")
    on_rbd.proxy.clear()
    on_rbd.stage.glance.restart(between=lambda: until(lambda: asked_for(on_rbd, capture), 30, "Glance to be missed"))
    cloned(on_rbd, ceph, capture, tmp)


def asked_for(scene: Scene, image_id: str) -> bool:
    """Whether somebody has asked Glance for this image."""
    return any(asked.path.endswith(f"/images/{image_id}") for asked in scene.proxy.asked)


@pytest.mark.parametrize("who", ["its user deletes the image", "the capture is cancelled"])
def test_given_up_with_a_clone_there(who: str, on_rbd: Scene, configured: Configured) -> None:
    with configured(on_rbd, ceph={"flatten": "now", "flatten_bandwidth": MIB}) as scene:
        capture = scene.begin()
        live.in_step(scene.service, capture, "flatten vda")
        if who == "the capture is cancelled":
            scene.ask(ALICE, "DELETE", f"/v2.1/captures/{capture}")
        else:
            scene.cloud().image.delete_image(capture, ignore_missing=False)
        shown = captures.ended(scene.service, capture, 20)
        assert shown["status"] == "cancelled"
        scene.gone(capture)


def test_the_md5_is_told_and_no_disk_is_left_tied(
    on_rbd: Scene, configured: Configured, ceph: CephCluster, tmp: Path
) -> None:
    with configured(on_rbd, ceph={"enable_verify_image_md5sum": True}) as scene:
        capture = scene.begin()
        cloned(scene, ceph, capture, tmp)
        data = ceph_lab.exported(ceph, f"vms/{capture}@snap", tmp)
        assert scene.image(capture).properties["md5sum"] == ceph_lab.digest(data, "md5")
        ceph_lab.flat(scene.service, capture)
    with configured(on_rbd, ceph={"flatten": "never"}) as scene:
        capture = scene.begin()
        scene.whole(capture)
        assert "flatten is never" in captures.told(captures.record(scene.service, capture))


def test_a_disk_in_a_file_becomes_an_image_on_ceph(
    scene: Scene, configured: Configured, ceph: CephCluster, tmp: Path
) -> None:
    before = ceph.contents()
    groups = {name: group for name, group in ceph_lab.store_cluster(ceph).items() if name.startswith("ceph")}
    with configured(scene, **groups):
        capture = scene.begin()
        shown = captures.completed(scene.service, capture)
        assert shown["transfer"] == "import"
        image = scene.image(capture)
        assert (image.status, image.disk_format, image.size) == ("active", "raw", 96 << 20)
        assert scene.cloud().image.get(f"/images/{capture}").json()["stores"] == ON_CEPH
        data = ceph_lab.exported(ceph, f"images/{capture}@snap", tmp)
        assert scene.sha512(capture) == ceph_lab.digest(data, "sha512")
        scene.cloud().image.delete_image(capture, ignore_missing=False)
        ceph_lab.tidy(scene.service, ceph, before, scene.guest)


# ------------------------------------------------------------------------------------- other sources, by an upload


def uploaded(scene: Scene, source: str) -> Any:
    """A capture from this source that was uploaded; its record."""
    captures.known(scene.service, scene.guest)
    capture = scene.begin()
    scene.whole(capture)
    shown = captures.record(scene.service, capture)
    assert shown["source"] == source
    return shown


def test_a_snapshot_in_a_pool_of_no_store_is_uploaded(
    scene: Scene, guests: Guests, ceph: CephCluster, nova: NovaMetadata, tmp: Path
) -> None:
    before = ceph.contents()
    disk = replace(ceph.disk(disks.raw(tmp / "d.raw", SIZE, {"a": "b"}), "elsewhere", pool="volumes"), target="vda")
    shown = uploaded(replace(scene, guest=guests.define(disk, nova=nova)), "snapshot")
    assert "Glance has no store in the image's Ceph pool" in captures.told(shown)
    assert f"pool volumes of cluster {ceph.fsid}" in captures.told_operator(shown)
    assert "volumes" not in captures.told(shown)
    ceph_lab.removed(ceph, disk)
    ceph_lab.same(ceph, before)


def test_a_stopped_disk_is_uploaded(scene: Scene, guests: Guests, nova: NovaMetadata, tmp: Path) -> None:
    disk = disks.raw(tmp / "d.raw", SIZE, {"a": "b"})
    shown = uploaded(replace(scene, guest=guests.define(disk, nova=nova)), "offline")
    assert scene.sha512(shown["id"]) == ceph_lab.digest(disk.path, "sha512")


def test_a_reflink_is_uploaded(
    scene: Scene, configured: Configured, libvirtd: PrivateLibvirtd, guests: Guests, nova: NovaMetadata, tmp: Path
) -> None:
    with filesystems.mounted("xfs", tmp / "xfs", 400 * MIB, libvirtd) as place:
        disk = disks.raw(place / "d.raw", SIZE, blocks.autorun(slots=SLOTS))
        with configured(scene, capture={"scratch_dir": place / "scratch"}):
            uploaded(replace(scene, guest=guests.writing(disk, nova=nova)), "reflink")
        guests.remove()


@pytest.mark.parametrize("transfer", ["clone", "upload"])
def test_several_disks_are_images_of_one_instant(
    transfer: str, scene: Scene, guests: Guests, ceph: CephCluster, nova: NovaMetadata, tmp: Path
) -> None:
    before = ceph.contents()
    if transfer == "clone":
        made = [ceph_lab.on_rbd(ceph, tmp), ceph_lab.on_rbd(ceph, tmp, target="vdb")]
    else:
        made = [disks.raw(tmp / "a.raw", SIZE, {"a": "a"}), replace(disks.raw(tmp / "b.raw", SIZE), target="vdb")]
    guest = guests.boot(*made, nova=nova)
    captures.known(scene.service, guest)
    capture = replace(scene, guest=guest).begin(disks=["vda", "vdb"])
    shown = captures.completed(scene.service, capture)
    assert shown["transfer"] == transfer
    found = [scene.image(image["id"]) for image in shown["images"]]
    assert [image.status for image in found] == ["active", "active"]
    assert len({image.properties["stillframe_captured_at"] for image in found}) == 1
    ceph_lab.flat(scene.service, capture)
    for image in found:
        scene.deleted(image.id)
    guests.remove()
    if transfer == "clone":
        for disk in made:
            ceph_lab.removed(ceph, disk)
    ceph_lab.same(ceph, before)
