"""Snapshots of images on RBD."""

from __future__ import annotations

from stillframe.disks.rbd.cluster import Cluster
from stillframe.disks.rbd.names import RbdImage

TIMEOUT = 30.0  # seconds; milliseconds where nobody else holds the image's lock


def create(cluster: Cluster, image: RbdImage, snap: str, *, timeout: float = TIMEOUT) -> None:
    """Takes it; raises RbdNameTaken, RbdMissing, CephForbidden, DeadlineExceeded (it may then still come about)."""
    raise NotImplementedError


def remove(cluster: Cluster, image: RbdImage, snap: str, *, timeout: float = TIMEOUT) -> None:
    """Unprotects and removes it; nothing happens where it, its image or its pool is gone.

    With clones of format 2 it goes as soon as the last of them is flat; with those of format 1 raises RbdInUse.
    """
    raise NotImplementedError


def exists(cluster: Cluster, image: RbdImage, snap: str, *, timeout: float = TIMEOUT) -> bool:
    """Whether image and snapshot are there."""
    raise NotImplementedError


def names(cluster: Cluster, image: RbdImage, *, timeout: float = TIMEOUT) -> tuple[str, ...]:
    """Its snapshots, oldest first, without those that only wait in the trash for their clones; raises RbdMissing."""
    raise NotImplementedError


def protect(cluster: Cluster, image: RbdImage, snap: str, *, timeout: float = TIMEOUT) -> None:
    """Makes it one that clones of format 1 can be made of, and that is not removed; nothing where it is so already."""
    raise NotImplementedError


def unprotect(cluster: Cluster, image: RbdImage, snap: str, *, timeout: float = TIMEOUT) -> None:
    """Nothing happens where it is not protected, or gone; raises RbdInUse while there are clones of format 1."""
    raise NotImplementedError


def protected(cluster: Cluster, image: RbdImage, snap: str, *, timeout: float = TIMEOUT) -> bool:
    """Raises RbdMissing."""
    raise NotImplementedError


def children(cluster: Cluster, image: RbdImage, snap: str, *, timeout: float = TIMEOUT) -> tuple[RbdImage, ...]:
    """The clones that still depend on it; none where it is gone."""
    raise NotImplementedError
