"""What can be done on a cluster, found out without a trace."""

from __future__ import annotations

from stillframe.disks.rbd.cluster import Cluster

TIMEOUT = 10.0  # seconds


def clone_format(cluster: Cluster, *, timeout: float = TIMEOUT) -> int:
    """Of new clones: 2 where no older client than Mimic's may connect, or the configuration says so; else 1."""
    raise NotImplementedError


def check_writable(cluster: Cluster, pool: str, *, timeout: float = TIMEOUT) -> None:
    """Raises CephForbidden where the cluster's user may not write to the pool, PoolMissing."""
    raise NotImplementedError


def free(cluster: Cluster, pool: str, *, timeout: float = TIMEOUT) -> int | None:
    """Bytes that the pool still takes; None where the cluster does not tell (without a manager, without the right)."""
    raise NotImplementedError
