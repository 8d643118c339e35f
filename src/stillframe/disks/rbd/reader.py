"""Reading a snapshot on RBD with many requests in flight; see stillframe.datapath.reader.Reader."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from types import TracebackType

from stillframe.datapath.reader import Check, Extent
from stillframe.disks.rbd.cluster import Cluster
from stillframe.disks.rbd.names import RbdImage


class RbdReader:
    """A snapshot, opened read-only."""

    def __init__(self, cluster: Cluster, image: RbdImage, snap: str, *, timeout: float = 10.0) -> None:
        """Open it within so many seconds; raises RbdMissing, CephForbidden, CephUnreachable, DeadlineExceeded."""
        raise NotImplementedError

    def __enter__(self) -> RbdReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def size(self) -> int:
        """Bytes of the snapshot."""
        raise NotImplementedError

    def extents(self, check: Check) -> Iterator[Extent]:
        """What objects there are, in the snapshot or its parents."""
        raise NotImplementedError

    def start(self, offset: int, buffer: memoryview) -> Hashable:
        raise NotImplementedError

    def finish(self, ticket: Hashable, check: Check) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError
