"""What the tests on Ceph share."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.ceph import CephCluster
from lab.tools import tool
from stillframe.disks.rbd.cluster import Cluster
from stillframe.disks.rbd.names import Endpoint, RbdImage

MIB = 1 << 20


def endpoint(ceph: CephCluster, user: str = "nova") -> Endpoint:
    """How a user gets in, without a ceph.conf."""
    return Endpoint(ceph.monitors, user, ceph.key(user))


def connected(ceph: CephCluster, user: str = "nova", *, timeout: float = 10.0) -> Cluster:
    """The cluster as this user."""
    return Cluster(endpoint(ceph, user), timeout=timeout)


def imported(ceph: CephCluster, cluster: Cluster, file: Path, *, pool: str = "vms") -> RbdImage:
    """The file's bytes as an image under a new name."""
    name = f"disk-{uuid.uuid4().hex[:8]}"
    ceph.rbd("import", "--no-progress", file, f"{pool}/{name}", timeout=120)
    return cluster.image(pool, name)


def exported(ceph: CephCluster, image: RbdImage, target: Path, snap: str = "") -> bytes:
    """What an image or its snapshot holds, by the command rbd."""
    ceph.rbd("export", "--no-progress", f"{image}@{snap}" if snap else str(image), target, timeout=120)
    return target.read_bytes()


def patterned(path: Path, size: int, *ranges: tuple[int, int]) -> Path:
    """A sparse file with random bytes in these ranges (offset, length)."""
    tool("truncate", "-s", str(size), path)
    for offset, length in ranges:
        tool("dd", "if=/dev/urandom", f"of={path}", "bs=4k", "conv=notrunc", "oflag=seek_bytes", f"seek={offset}",
             f"count={length // 4096}")  # fmt: skip
    return path


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fails where what is inside takes longer."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds
