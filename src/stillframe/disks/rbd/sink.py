"""Writing an image on RBD with several requests in flight; see stillframe.datapath.sink.Sink."""

from __future__ import annotations

from stillframe.disks.rbd.cluster import Cluster
from stillframe.disks.rbd.names import RbdImage


class RbdSink:
    """A new, empty image that was made for this (images.create): what is not written reads as zeros."""

    def __init__(self, cluster: Cluster, image: RbdImage, *, stall: float = 120.0, timeout: float = 10.0) -> None:
        """Open it within `timeout` seconds; a write fails once nothing has moved for `stall` seconds."""
        raise NotImplementedError

    def write(self, offset: int, data: memoryview) -> None:
        raise NotImplementedError

    def zeros(self, offset: int, length: int) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        raise NotImplementedError

    def abort(self) -> None:
        raise NotImplementedError
