"""Images on RBD: made, cloned, removed. What Stillframe makes carries its owner, a capture's id, in its metadata."""

from __future__ import annotations

from dataclasses import dataclass

from stillframe.disks.rbd.cluster import Cluster
from stillframe.disks.rbd.names import RbdImage

TIMEOUT = 30.0  # seconds
REMOVE_TIMEOUT = 300.0  # seconds: each object of the image is asked for


@dataclass(frozen=True, slots=True)
class Parent:
    """What a clone depends on."""

    image: RbdImage
    snap: str


def create(cluster: Cluster, image: RbdImage, size: int, owner: str, *, timeout: float = TIMEOUT) -> None:
    """A new empty image of `size` bytes; raises RbdNameTaken, PoolMissing, CephForbidden."""
    raise NotImplementedError


def clone(
    cluster: Cluster, source: RbdImage, snap: str, target: RbdImage, owner: str, *,
    form: int | None = None, timeout: float = TIMEOUT,
) -> None:  # fmt: skip
    """A new image that reads as the snapshot; protects the snapshot first where the format of clones is 1.

    `form`: 1 or 2; None: 2 where the cluster allows it (capabilities.clone_format). Raises as `create`, RbdMissing.
    """
    raise NotImplementedError


def exists(cluster: Cluster, image: RbdImage, *, timeout: float = TIMEOUT) -> bool:
    """Whether it is there, in a pool that may be missing too."""
    raise NotImplementedError


def size(cluster: Cluster, image: RbdImage, *, timeout: float = TIMEOUT) -> int:
    """Bytes; raises RbdMissing."""
    raise NotImplementedError


def owner(cluster: Cluster, image: RbdImage, *, timeout: float = TIMEOUT) -> str | None:
    """Which capture made it; None: nobody of us, or it is gone."""
    raise NotImplementedError


def parent(cluster: Cluster, image: RbdImage, *, timeout: float = TIMEOUT) -> Parent | None:
    """What it depends on; None: nothing. Raises RbdMissing."""
    raise NotImplementedError


def remove(
    cluster: Cluster, image: RbdImage, owner: str, *,
    snaps: tuple[str, ...] = ("snap",), timeout: float = REMOVE_TIMEOUT,
) -> None:  # fmt: skip
    """Removes an image that this owner made, with these snapshots; nothing happens where it is gone or not his.

    Not his: it carries another owner, or none and is not empty. Raises RbdInUse: clones, other snapshots, an opener.
    """
    raise NotImplementedError
