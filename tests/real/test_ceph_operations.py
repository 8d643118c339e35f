"""Each operation on a real cluster: what it does, done twice, and done where the thing is gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import rados

from lab.ceph import CephCluster
from lab.wait import until
from stillframe.datapath.control import Control
from stillframe.disks.rbd import capabilities, images, snapshots
from stillframe.disks.rbd.cluster import Cluster
from stillframe.disks.rbd.flatten import flatten
from stillframe.disks.rbd.names import RbdImage
from stillframe.errors.base import StillframeError
from stillframe.errors.capture import CaptureCancelled
from stillframe.errors.ceph import CephForbidden, PoolMissing, RbdInUse, RbdMissing, RbdNameTaken
from tests.real.ceph_tools import MIB, connected, exported, imported, patterned

pytestmark = pytest.mark.ceph  # make test-ceph

CAPTURE = "5b6d2c1e-capture"
SNAP = f"stillframe-{CAPTURE}"


@pytest.fixture
def unchanged(ceph: CephCluster) -> Iterator[None]:
    """Images, snapshots, trash and pools are the same afterwards."""
    before = ceph.contents()
    yield
    assert ceph.contents() == before


@pytest.fixture
def cluster(ceph: CephCluster, unchanged: None) -> Iterator[Cluster]:
    """As the user admin; a test leaves nothing behind."""
    cluster = connected(ceph, "admin")
    yield cluster
    cluster.close()


@pytest.fixture
def disk(ceph: CephCluster, cluster: Cluster, tmp: Path) -> Iterator[RbdImage]:
    """A disk of 40 MiB: data in the first, the fourth and the last object."""
    file = patterned(tmp / "disk.raw", 40 * MIB, (0, MIB), (13 * MIB, 8192), (39 * MIB, MIB))
    image = imported(ceph, cluster, file)
    yield image
    ceph.rbd("snap", "purge", "--no-progress", str(image))
    ceph.rbd("rm", "--no-progress", str(image))


def test_a_snapshot_is_taken_listed_protected_and_removed_twice(cluster: Cluster, disk: RbdImage) -> None:
    snapshots.create(cluster, disk, SNAP)
    assert snapshots.names(cluster, disk) == (SNAP,)
    with pytest.raises(RbdNameTaken, match=SNAP):
        snapshots.create(cluster, disk, SNAP)
    for _ in range(2):
        snapshots.protect(cluster, disk, SNAP)
    assert snapshots.protected(cluster, disk, SNAP)
    for _ in range(2):
        snapshots.unprotect(cluster, disk, SNAP)
    assert not snapshots.protected(cluster, disk, SNAP)
    snapshots.protect(cluster, disk, SNAP)
    for _ in range(2):
        snapshots.remove(cluster, disk, SNAP)
    assert not snapshots.exists(cluster, disk, SNAP)


def test_releasing_what_was_never_there_does_nothing(cluster: Cluster, disk: RbdImage) -> None:
    for image in (disk, cluster.image("vms", "gone"), cluster.image("no-pool", "gone")):
        snapshots.remove(cluster, image, SNAP)
        snapshots.unprotect(cluster, image, SNAP)
        assert not snapshots.exists(cluster, image, SNAP)
        assert snapshots.children(cluster, image, SNAP) == ()
    for pool in ("images", "no-pool"):
        images.remove(cluster, cluster.image(pool, "gone"), CAPTURE)
        assert images.owner(cluster, cluster.image(pool, "gone")) is None
        assert not images.exists(cluster, cluster.image(pool, "gone"))


def test_what_is_missing_is_named(cluster: Cluster, disk: RbdImage) -> None:
    with pytest.raises(RbdMissing, match="vms/gone"):
        images.size(cluster, cluster.image("vms", "gone"))
    with pytest.raises(PoolMissing, match="no-pool"):
        images.create(cluster, cluster.image("no-pool", "a"), MIB, CAPTURE)
    with pytest.raises(RbdMissing, match=f"{disk.image}@none"):
        snapshots.protect(cluster, disk, "none")
    with pytest.raises(RbdMissing, match=f"{disk.image}@none"):
        images.clone(cluster, disk, "none", cluster.image("images", "a"), CAPTURE, form=2)


@pytest.mark.parametrize("form", [1, 2])
def test_a_clone_becomes_independent(ceph: CephCluster, cluster: Cluster, disk: RbdImage, tmp: Path, form: int) -> None:
    target = cluster.image("images", f"clone-{form}")
    snapshots.create(cluster, disk, SNAP)
    held = exported(ceph, disk, tmp / "held", SNAP)
    images.clone(cluster, disk, SNAP, target, CAPTURE, form=form)
    assert images.owner(cluster, target) == CAPTURE
    assert images.parent(cluster, target) == images.Parent(disk, SNAP)
    assert snapshots.children(cluster, disk, SNAP) == (target,)
    assert snapshots.protected(cluster, disk, SNAP) == (form == 1)
    if form == 1:
        with pytest.raises(RbdInUse):
            snapshots.remove(cluster, disk, SNAP)

    control = Control()
    for _ in range(2):
        flatten(cluster, target, control)

    progress = control.meter.progress()
    assert (progress.done, progress.total) == (12 * MIB, 12 * MIB)
    assert images.parent(cluster, target) is None
    assert snapshots.children(cluster, disk, SNAP) == ()
    snapshots.remove(cluster, disk, SNAP)
    assert exported(ceph, target, tmp / "flat") == held
    images.remove(cluster, target, CAPTURE)


def test_with_format_2_the_snapshot_goes_before_its_clone(cluster: Cluster, disk: RbdImage) -> None:
    target = cluster.image("images", "clone")
    snapshots.create(cluster, disk, SNAP)
    images.clone(cluster, disk, SNAP, target, CAPTURE, form=2)
    snapshots.remove(cluster, disk, SNAP)
    assert snapshots.names(cluster, disk) == ()
    assert not snapshots.exists(cluster, disk, SNAP)
    assert images.parent(cluster, target) is not None
    flatten(cluster, target, Control())
    images.remove(cluster, target, CAPTURE)


def test_a_flatten_keeps_to_its_rate_is_cancelled_and_goes_on(cluster: Cluster, disk: RbdImage) -> None:
    target = cluster.image("images", "clone")
    snapshots.create(cluster, disk, SNAP)
    images.clone(cluster, disk, SNAP, target, CAPTURE, form=2)
    slow = Control(bandwidth=MIB)
    threading.Timer(0.5, slow.cancel, [CaptureCancelled()]).start()
    began = time.monotonic()
    with pytest.raises(CaptureCancelled):
        flatten(cluster, target, slow)
    assert time.monotonic() - began < 2
    done = slow.meter.progress().done
    assert 0 < done < 12 * MIB
    assert images.parent(cluster, target) is not None

    again = Control()
    flatten(cluster, target, again)

    assert images.parent(cluster, target) is None
    assert done + again.meter.progress().done in {12 * MIB, 16 * MIB}  # the one it was held up at is copied or not
    snapshots.remove(cluster, disk, SNAP)
    images.remove(cluster, target, CAPTURE)


def test_names_that_are_taken_are_left_alone(ceph: CephCluster, cluster: Cluster, disk: RbdImage, tmp: Path) -> None:
    snapshots.create(cluster, disk, SNAP)
    theirs = imported(ceph, cluster, patterned(tmp / "theirs", 4 * MIB, (0, 4096)), pool="images")
    with pytest.raises(RbdNameTaken, match=theirs.image):
        images.create(cluster, theirs, MIB, CAPTURE)
    with pytest.raises(RbdNameTaken, match=theirs.image):
        images.clone(cluster, disk, SNAP, theirs, CAPTURE, form=2)
    images.remove(cluster, theirs, CAPTURE)
    assert images.size(cluster, theirs) == 4 * MIB
    ceph.rbd("rm", "--no-progress", str(theirs))

    images.create(cluster, theirs, MIB, "another capture")
    images.remove(cluster, theirs, CAPTURE)
    assert images.owner(cluster, theirs) == "another capture"
    images.remove(cluster, theirs, "another capture")


def test_what_was_killed_before_it_was_marked_is_known_all_the_same(
    ceph: CephCluster, cluster: Cluster, disk: RbdImage
) -> None:
    snapshots.create(cluster, disk, SNAP)
    ceph.rbd("clone", "--rbd-default-clone-format", "2", f"{disk}@{SNAP}", "images/half-a-clone")
    ceph.rbd("create", "--size", "8M", "images/half-an-import")
    for name in ("half-a-clone", "half-an-import"):
        image = cluster.image("images", name)
        assert images.owner(cluster, image) is None
        images.remove(cluster, image, CAPTURE)
        assert not images.exists(cluster, image)


def test_a_removal_that_did_not_get_to_its_end_is_ended_by_the_next(ceph: CephCluster, cluster: Cluster) -> None:
    image = cluster.image("images", "half-removed")
    images.create(cluster, image, 8 * MIB, CAPTURE)
    with ceph.administrator() as admin, admin.open_ioctx("images") as ioctx:
        number = ioctx.read(f"rbd_id.{image.image}")[4:].decode()
        ioctx.remove_object(f"rbd_header.{number}")  # as librbd does it: the name goes last
    assert not images.exists(cluster, image)
    assert images.listed(cluster, image)
    images.remove(cluster, image, CAPTURE)
    assert not images.listed(cluster, image)


def test_an_image_of_somebody_else_that_cannot_be_opened_is_left_alone(ceph: CephCluster, cluster: Cluster) -> None:
    parent, theirs = cluster.image("vms", "parent"), cluster.image("images", "theirs")
    images.create(cluster, parent, 8 * MIB, CAPTURE)
    snapshots.create_protected(cluster, parent, SNAP)
    images.clone(cluster, parent, SNAP, theirs, "another capture", form=1)
    with ceph.administrator() as admin, admin.open_ioctx("vms") as ioctx:
        header = f"rbd_header.{ioctx.read(f'rbd_id.{parent.image}')[4:].decode()}"
        kept = dict(_values(ioctx, header))
        ioctx.remove_object(header)
        images.remove(cluster, theirs, CAPTURE)
        assert images.listed(cluster, theirs)
        with rados.WriteOpCtx() as write:
            ioctx.set_omap(write, tuple(kept), tuple(kept.values()))
            ioctx.operate_write_op(write, header)
    images.remove(cluster, theirs, "another capture")
    images.remove(cluster, parent, CAPTURE, snaps=(SNAP,))


def _values(ioctx: rados.Ioctx, name: str) -> Iterator[tuple[str, bytes]]:
    with rados.ReadOpCtx() as read:
        values, _ = ioctx.get_omap_vals(read, "", "", 1000)
        ioctx.operate_read_op(read, name)
        yield from values


def test_several_who_remove_one_image_at_once_leave_nothing(cluster: Cluster) -> None:
    def remove(image: RbdImage) -> None:
        with suppress(StillframeError):  # librbd has several words for one who comes too late
            images.remove(cluster, image, CAPTURE)

    with ThreadPoolExecutor(3) as several:
        for number in range(8):
            image = cluster.image("images", f"wanted-by-nobody-{number}")
            images.create(cluster, image, 8 * MIB, CAPTURE)
            snapshots.create_protected(cluster, image, "snap")
            for each in [several.submit(remove, image) for _ in range(3)]:
                each.result(60)
            images.remove(cluster, image, CAPTURE)
            assert not images.listed(cluster, image)


def test_an_image_goes_with_its_snap_but_not_with_clones_or_snapshots_of_others(
    ceph: CephCluster, cluster: Cluster
) -> None:
    image = cluster.image("images", "published")
    images.create(cluster, image, 8 * MIB, CAPTURE)
    snapshots.create(cluster, image, "snap")
    snapshots.protect(cluster, image, "snap")
    child = cluster.image("vms", "booted")
    images.clone(cluster, image, "snap", child, "somebody", form=1)
    with pytest.raises(RbdInUse):
        images.remove(cluster, image, CAPTURE)
    images.remove(cluster, child, "somebody")
    ceph.rbd("snap", "create", "--no-progress", f"{image}@theirs")
    with pytest.raises(RbdInUse, match="theirs"):
        images.remove(cluster, image, CAPTURE)
    assert snapshots.protected(cluster, image, "snap")
    ceph.rbd("snap", "rm", "--no-progress", f"{image}@theirs")
    images.remove(cluster, image, CAPTURE)
    assert not images.exists(cluster, image)


def test_refusals_name_user_pool_and_what_would_allow_it(ceph: CephCluster, cluster: Cluster, disk: RbdImage) -> None:
    ceph.make_user("reader", "profile rbd-read-only pool=vms, profile rbd pool=volumes")
    ceph.make_user("stranger", "profile rbd pool=volumes")
    reader, stranger, nova = (connected(ceph, user) for user in ("reader", "stranger", "nova"))
    snapshots.create(cluster, disk, SNAP)

    with pytest.raises(CephForbidden, match="reader may not take a snapshot in pool vms") as refused:
        snapshots.create(reader, disk, "mine")
    grant = "ceph auth caps client.reader mon 'profile rbd' osd '..., profile rbd pool=vms'"
    assert grant in refused.value.fault.operator
    with pytest.raises(CephForbidden, match="stranger may not list snapshots in pool vms") as refused:
        snapshots.names(stranger, disk)
    assert "profile rbd-read-only pool=vms" in refused.value.fault.operator
    with pytest.raises(CephForbidden, match="nova may not write images in pool images"):
        images.clone(nova, disk, SNAP, nova.image("images", "a"), CAPTURE, form=2)
    with pytest.raises(CephForbidden, match="nova may not create an image in pool images"):
        images.create(nova, nova.image("images", "a"), MIB, CAPTURE)
    with pytest.raises(CephForbidden, match="in pool vms"):
        images.clone(stranger, disk, SNAP, stranger.image("volumes", "a"), CAPTURE, form=2)
    for each in (reader, stranger, nova):
        each.close()


def test_capabilities_are_told_without_a_trace(ceph: CephCluster, cluster: Cluster) -> None:
    ceph.command("osd set-require-min-compat-client", version="luminous", yes_i_really_mean_it=True)
    nova = connected(ceph)
    for pool in ("vms", "volumes"):
        capabilities.check_writable(nova, pool)
    with pytest.raises(CephForbidden, match="nova may not write images in pool images"):
        capabilities.check_writable(nova, "images")
    with pytest.raises(PoolMissing):
        capabilities.check_writable(nova, "no-pool")
    assert capabilities.free(nova, "vms") is None
    assert capabilities.clone_format(nova) == 1
    nova.close()


def test_a_cluster_without_old_clients_takes_clones_of_format_2(other_ceph: CephCluster, tmp: Path) -> None:
    cluster = connected(other_ceph, "admin")
    other_ceph.command("osd set-require-min-compat-client", version="mimic")
    until(lambda: capabilities.clone_format(cluster) == 2, 10, "the monitors to know")
    disk = imported(other_ceph, cluster, patterned(tmp / "disk", 8 * MIB, (0, 4096)))
    snapshots.create(cluster, disk, SNAP)
    images.clone(cluster, disk, SNAP, cluster.image("images", "a"), CAPTURE)
    assert not snapshots.protected(cluster, disk, SNAP)
    images.remove(cluster, cluster.image("images", "a"), CAPTURE)
    snapshots.remove(cluster, disk, SNAP)
    other_ceph.rbd("rm", "--no-progress", str(disk))
    cluster.close()
