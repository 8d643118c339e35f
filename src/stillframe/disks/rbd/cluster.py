"""Connections to Ceph clusters."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import rados

from stillframe.disks.rbd.names import Endpoint, RbdImage

T = TypeVar("T")


class Cluster:
    """A cluster as one user reaches it; any thread may use it."""

    endpoint: Endpoint
    fsid: str

    def image(self, pool: str, image: str) -> RbdImage:
        """An image of this cluster."""
        return RbdImage(self.fsid, pool, image)

    def call(self, what: str, timeout: float, work: Callable[[rados.Rados], T]) -> T:
        """What `work` returns for a connection of this cluster.

        Raises what `work` raises, CephUnreachable, or DeadlineExceeded ("`what` took longer than ..."): the work then
        goes on behind its connection, which is never used again and shut down once it returns.
        """
        raise NotImplementedError


class Clusters:
    """All clusters of this host, each connected when it is first asked for."""

    def __init__(self, *, timeout: float = 10.0) -> None:
        """`timeout`: seconds for making a connection."""
        raise NotImplementedError

    def open(self, endpoint: Endpoint) -> Cluster:
        """The cluster, connected; the same one for the same endpoint. Raises CephUnreachable, CephRefused."""
        raise NotImplementedError

    def close(self) -> None:
        """Lets go of all connections; never waits for one that hangs."""
        raise NotImplementedError
