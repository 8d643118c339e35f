"""Images on RBD: made, cloned, removed. What Stillframe makes carries its owner, a capture's id, in its metadata."""

from __future__ import annotations

from dataclasses import dataclass

import rados
import rbd

from stillframe.disks.rbd import capabilities, snapshots, task
from stillframe.disks.rbd.capabilities import CLONE_FORMAT
from stillframe.disks.rbd.cluster import Cluster
from stillframe.disks.rbd.names import RbdImage
from stillframe.disks.rbd.task import READ, Task
from stillframe.errors.ceph import CephForbidden, PoolMissing, RbdInUse, RbdMissing

TIMEOUT = 60.0  # seconds
REMOVE_TIMEOUT = 600.0  # seconds: each object of the image is asked for
OWNER = "stillframe_capture"
# No object map: who opened a snapshot of the clone, or a clone of that, would go by its map of then for good, read the
# objects that were copied since from the parent, and find zeros there once the parent's snapshot is gone.
FLAT_LATER = rbd.RBD_FEATURE_LAYERING | rbd.RBD_FEATURE_EXCLUSIVE_LOCK | rbd.RBD_FEATURE_DEEP_FLATTEN


@dataclass(frozen=True, slots=True)
class Parent:
    """What a clone depends on."""

    image: RbdImage
    snap: str


def create(cluster: Cluster, image: RbdImage, size: int, owner: str, *, timeout: float = TIMEOUT) -> None:
    """A new empty image of `size` bytes; raises RbdNameTaken, PoolMissing, CephForbidden, DeadlineExceeded.

    One that comes about after its deadline is removed again.
    """

    def work(ioctx: rados.Ioctx) -> None:
        rbd.RBD().create(ioctx, image.image, size, old_format=False)
        _mark(ioctx, image, owner)

    Task(cluster, "create an image", image).run(timeout, work, lambda ioctx: rbd.RBD().remove(ioctx, image.image))


def clone(
    cluster: Cluster,
    source: RbdImage,
    snap: str,
    target: RbdImage,
    owner: str,
    *,
    form: int | None = None,
    flat_later: bool = False,
    timeout: float = TIMEOUT,
) -> None:
    """A new image that reads as the snapshot; protects the snapshot first where the format of clones is 1.

    `form`: 1 or 2; None: 2 where the cluster allows it (capabilities.clone_format). `flat_later`: others will have it
    open while it is flattened. Raises as `create`, RbdMissing.
    """
    form = form or capabilities.clone_format(cluster)
    if form == 1:
        snapshots.protect(cluster, source, snap, timeout=timeout)

    def work(connection: rados.Rados) -> None:
        before = connection.conf_get(CLONE_FORMAT)
        connection.conf_set(CLONE_FORMAT, str(form))
        try:
            with task.pool(connection, source.pool) as origin, task.pool(connection, target.pool) as ioctx:
                features = FLAT_LATER if flat_later else None
                rbd.RBD().clone(origin, source.image, snap, ioctx, target.image, features=features)
                _mark(ioctx, target, owner)
        finally:
            connection.conf_set(CLONE_FORMAT, before)

    def undo(connection: rados.Rados) -> None:
        with task.pool(connection, target.pool) as ioctx:
            rbd.RBD().remove(ioctx, target.image)

    making = Task(cluster, "make a clone", target)
    try:
        with making.translated():
            cluster.call(making.waiting, timeout, work, undo)
    except CephForbidden as error:
        capabilities.check_writable(cluster, target.pool)
        raise Task(cluster, "make clones of snapshots", source).forbidden(error.fault.operator) from error
    except RbdMissing as error:
        raise RbdMissing(what=f"Snapshot {source}@{snap}", operator=error.fault.operator) from error


def exists(cluster: Cluster, image: RbdImage, *, timeout: float = TIMEOUT) -> bool:
    """Whether it is there, in a pool that may be missing too."""
    try:
        size(cluster, image, timeout=timeout)
    except (RbdMissing, PoolMissing):
        return False
    return True


def listed(cluster: Cluster, image: RbdImage, *, timeout: float = TIMEOUT) -> bool:
    """Whether its pool has one of this name, which it may not be possible to open."""

    looking = Task(cluster, "look for an image", image, caps=READ)
    try:
        return looking.run(timeout, lambda ioctx: _there(ioctx, f"rbd_id.{image.image}"))
    except PoolMissing:
        return False


def size(cluster: Cluster, image: RbdImage, *, timeout: float = TIMEOUT) -> int:
    """Bytes; raises RbdMissing."""
    looking = Task(cluster, "look at an image", image, caps=READ)
    return looking.on_image(timeout, lambda opened: int(opened.size()), read_only=True)


def owner(cluster: Cluster, image: RbdImage, *, timeout: float = TIMEOUT) -> str | None:
    """Which capture made it; None: nobody of us, or it is gone."""
    try:
        return Task(cluster, "look at an image", image, caps=READ).on_image(timeout, _owner, read_only=True)
    except (RbdMissing, PoolMissing):
        return None


def parent(cluster: Cluster, image: RbdImage, *, timeout: float = TIMEOUT) -> Parent | None:
    """What it depends on; None: nothing. Raises RbdMissing."""

    def work(opened: rbd.Image) -> Parent | None:
        found = parent_of(opened)
        return found and Parent(cluster.image(found[0], found[1]), found[2])

    return Task(cluster, "look at an image", image, caps=READ).on_image(timeout, work, read_only=True)


def parent_of(opened: rbd.Image) -> tuple[str, str, str] | None:
    """Pool, image and snapshot that an open image depends on."""
    try:
        spec = opened.get_parent_image_spec()
    except rbd.ImageNotFound:
        return None
    return spec["pool_name"], spec["image_name"], spec["snap_name"]


def remove(
    cluster: Cluster,
    image: RbdImage,
    owner: str,
    *,
    snaps: tuple[str, ...] = ("snap",),
    timeout: float = REMOVE_TIMEOUT,
) -> None:
    """Removes an image that this owner made, with these snapshots; nothing happens where it is gone or not his.

    Not his: it carries another owner, or none and is not empty. One whose name alone is left, since a removal did not
    get to its end, goes: it is no image any more. Raises RbdInUse: clones, other snapshots, an opener.
    """
    removing = Task(cluster, "remove an image", image)

    def work(ioctx: rados.Ioctx) -> None:
        try:
            with rbd.Image(ioctx, image.image) as opened:
                if not _made_by(opened, owner):
                    return
                names = snapshots.named(opened)
                foreign = [name for name in names if name not in snaps]
                if foreign:
                    raise RbdInUse(what=removing.thing, reason=f"it has the snapshot {foreign[0]}")
                for name in names:
                    snapshots.drop(opened, name)
        except rbd.ImageNotFound:
            if not _name_alone(ioctx, image):
                raise
        rbd.RBD().remove(ioctx, image.image)

    try:
        removing.run(timeout, work)
    except (RbdMissing, PoolMissing):
        return


def _name_alone(ioctx: rados.Ioctx, image: RbdImage) -> bool:
    """Whether its header is gone, which librbd removes before the name; one without its parent has a header."""
    try:
        number = ioctx.read(f"rbd_id.{image.image}")[4:].decode()  # after its length
    except rados.ObjectNotFound:
        return False
    return not _there(ioctx, f"rbd_header.{number}")


def _there(ioctx: rados.Ioctx, name: str) -> bool:
    try:
        ioctx.stat(name)
    except rados.ObjectNotFound:
        return False
    return True


def _mark(ioctx: rados.Ioctx, image: RbdImage, owner: str) -> None:
    with rbd.Image(ioctx, image.image) as opened:
        opened.metadata_set(OWNER, owner)


def _owner(opened: rbd.Image) -> str | None:
    try:
        return str(opened.metadata_get(OWNER))
    except KeyError:
        return None


def _made_by(opened: rbd.Image, owner: str) -> bool:
    """By its mark; one that was killed before it could mark it left an empty image, or a clone of its own snapshot."""
    marked = _owner(opened)
    if marked is not None:
        return marked == owner
    found = parent_of(opened)
    if found is not None:
        return owner in found[2]
    return not snapshots.named(opened) and _empty(opened)


def _empty(opened: rbd.Image) -> bool:
    found: list[int] = []
    opened.diff_iterate(0, opened.size(), None, lambda offset, *_: found.append(offset), whole_object=True)
    return not found
