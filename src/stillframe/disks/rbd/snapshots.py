"""Snapshots of images on RBD."""

from __future__ import annotations

from contextlib import suppress

import rados
import rbd

from stillframe.disks.rbd.cluster import Cluster
from stillframe.disks.rbd.names import RbdImage
from stillframe.disks.rbd.task import READ, Task
from stillframe.errors.ceph import CephForbidden, PoolMissing, RbdMissing

TIMEOUT = 60.0  # seconds; milliseconds usually, but a lock's owner that was killed is waited for for 30 s


def create(cluster: Cluster, image: RbdImage, snap: str, *, timeout: float = TIMEOUT) -> None:
    """Takes it; raises RbdNameTaken, RbdMissing, CephForbidden, DeadlineExceeded (it is removed if it comes later)."""
    task = Task(cluster, "take a snapshot", image, snap)
    task.on_image(timeout, lambda opened: opened.create_snap(snap), lambda opened: opened.remove_snap(snap))


def remove(cluster: Cluster, image: RbdImage, snap: str, *, timeout: float = TIMEOUT) -> None:
    """Unprotects and removes it; nothing happens where it, its image or its pool is gone.

    While there are clones of format 1 raises RbdInUse; with those of format 2 it waits in the image's trash for them.
    """
    task = Task(cluster, "remove a snapshot", image, snap)
    try:
        task.on_image(timeout, lambda opened: drop(opened, snap))
    except (RbdMissing, PoolMissing):
        return


def remove_in_trash(cluster: Cluster, image: RbdImage, snap: str, *, timeout: float = TIMEOUT) -> None:
    """As `remove`, from all that had this name before it was moved to the pool's trash.

    Who may not look into the trash has no snapshot there: taking one needs more.
    """

    def work(ioctx: rados.Ioctx) -> None:
        for thrown in rbd.RBD().trash_list(ioctx):
            if thrown["name"] != image.image:
                continue
            with suppress(rbd.ImageNotFound), rbd.Image(ioctx, image_id=thrown["id"]) as opened:
                if snap in named(opened):
                    drop(opened, snap)

    with suppress(PoolMissing, CephForbidden):
        Task(cluster, "remove a snapshot of an image in the trash", image, snap).run(timeout, work)


def drop(opened: rbd.Image, snap: str) -> None:
    """Unprotects and removes a snapshot of an open image; raises rbd.ImageNotFound, rbd.ImageBusy."""
    if opened.is_protected_snap(snap):
        opened.unprotect_snap(snap)
    opened.remove_snap(snap)


def exists(cluster: Cluster, image: RbdImage, snap: str, *, timeout: float = TIMEOUT) -> bool:
    """Whether image and snapshot are there."""
    try:
        return snap in names(cluster, image, timeout=timeout)
    except (RbdMissing, PoolMissing):
        return False


def names(cluster: Cluster, image: RbdImage, *, timeout: float = TIMEOUT) -> tuple[str, ...]:
    """Its snapshots, oldest first, without those that only wait in the trash for their clones; raises RbdMissing."""
    task = Task(cluster, "list snapshots", image, caps=READ)
    return task.on_image(timeout, named, read_only=True)


def named(opened: rbd.Image) -> tuple[str, ...]:
    """The snapshots of an open image that users have made, oldest first."""
    user = rbd.RBD_SNAP_NAMESPACE_TYPE_USER
    return tuple(each["name"] for each in opened.list_snaps() if each["namespace"] == user)


def owner_silent(cluster: Cluster, image: RbdImage, *, timeout: float = TIMEOUT) -> bool:
    """Whether somebody holds the image's lock whom the cluster has not heard of lately.

    librbd takes such a lock away from him before it takes a snapshot, and has the cluster cut him off for good: right
    for one that died, the end of a guest whose QEMU was only held up. Raises RbdMissing.
    """

    def work(opened: rbd.Image) -> bool:
        heard = {watcher["addr"] for watcher in opened.watchers_list()}
        try:
            return any(lock["owner"] not in heard for lock in opened.lock_get_owners())
        except rbd.InvalidArgument:  # no such lock on this image
            return False

    return Task(cluster, "look at an image's lock", image).on_image(timeout, work)


def create_protected(cluster: Cluster, image: RbdImage, snap: str, *, timeout: float = TIMEOUT) -> None:
    """Takes it, and makes it one that clones of format 1 can be made of and that is not removed; raises as `create`."""

    def work(opened: rbd.Image) -> None:
        opened.create_snap(snap)
        opened.protect_snap(snap)

    Task(cluster, "take a protected snapshot", image, snap).on_image(timeout, work, lambda opened: drop(opened, snap))


def protect(cluster: Cluster, image: RbdImage, snap: str, *, timeout: float = TIMEOUT) -> None:
    """Makes it one that clones of format 1 can be made of, and that is not removed; nothing where it is so already."""

    def work(opened: rbd.Image) -> None:
        if not opened.is_protected_snap(snap):
            opened.protect_snap(snap)

    Task(cluster, "protect a snapshot", image, snap).on_image(timeout, work)


def unprotect(cluster: Cluster, image: RbdImage, snap: str, *, timeout: float = TIMEOUT) -> None:
    """Nothing happens where it is not protected, or gone; raises RbdInUse while there are clones of format 1."""

    def work(opened: rbd.Image) -> None:
        if opened.is_protected_snap(snap):
            opened.unprotect_snap(snap)

    try:
        Task(cluster, "unprotect a snapshot", image, snap).on_image(timeout, work)
    except (RbdMissing, PoolMissing):
        return


def protected(cluster: Cluster, image: RbdImage, snap: str, *, timeout: float = TIMEOUT) -> bool:
    """Raises RbdMissing."""
    task = Task(cluster, "look at a snapshot", image, snap, caps=READ)
    return task.on_image(timeout, lambda opened: bool(opened.is_protected_snap(snap)), read_only=True)


def children(cluster: Cluster, image: RbdImage, snap: str, *, timeout: float = TIMEOUT) -> tuple[RbdImage, ...]:
    """The clones that still depend on it; none where it is gone."""

    def work(opened: rbd.Image) -> tuple[RbdImage, ...]:
        opened.set_snap(snap)
        return tuple(cluster.image(each["pool"], each["image"]) for each in opened.list_children2())

    try:
        return Task(cluster, "list clones", image, snap, caps=READ).on_image(timeout, work, read_only=True)
    except (RbdMissing, PoolMissing):
        return ()
