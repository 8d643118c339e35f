"""A snapshot that is about to be taken, of an image that may be a guest's."""

from __future__ import annotations

from typing import Final

import rbd

from stillframe.disks.rbd import snapshots
from stillframe.disks.rbd.cluster import Cluster
from stillframe.disks.rbd.names import RbdImage
from stillframe.disks.rbd.opening import Opening
from stillframe.disks.rbd.task import Task


class PendingSnapshot:
    """Its image is opened beforehand, since that takes as long as the snapshot, for which a guest stands still."""

    def __init__(self, cluster: Cluster, image: RbdImage, snap: str, *, timeout: float) -> None:
        """Open the image within so many seconds; raises RbdMissing, CephForbidden, DeadlineExceeded."""
        self._snap: Final = snap
        self._opening = Opening(Task(cluster, "take a snapshot", image, snap), timeout=timeout)

    def owner_silent(self, timeout: float) -> bool:
        """Whether somebody holds the image's lock whom the cluster has not heard of lately.

        librbd takes such a lock away from him before it takes a snapshot, and has the cluster cut him off for good:
        right for one that died, the end of a guest whose QEMU was only held up.
        """
        return self._opening.call(timeout, _owner_silent)

    def clear(self, timeout: float) -> None:
        """Removes one of the same name, which an attempt that was cut off has left; raises RbdInUse."""

        def work(opened: rbd.Image) -> None:
            if self._snap in snapshots.named(opened):
                snapshots.drop(opened, self._snap)

        self._opening.call(timeout, work)

    def take(self, timeout: float) -> None:
        """Raises RbdNameTaken, CephForbidden, CephFull, DeadlineExceeded (it is removed if it comes later)."""
        snap = self._snap
        self._opening.call(timeout, lambda opened: opened.create_snap(snap), lambda opened: opened.remove_snap(snap))

    def close(self) -> None:
        """Lets go of the image; never raises."""
        self._opening.close()


def _owner_silent(opened: rbd.Image) -> bool:
    heard = {watcher["addr"] for watcher in opened.watchers_list()}
    try:
        return any(lock["owner"] not in heard for lock in opened.lock_get_owners())
    except rbd.InvalidArgument:  # no such lock on this image
        return False
