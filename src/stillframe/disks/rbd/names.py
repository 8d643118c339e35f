"""What names a disk on RBD, and what it takes to reach its cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, order=True)
class RbdImage:
    """An image in a pool of a cluster. Pool names and ids coincide across clusters, so the fsid belongs to it."""

    fsid: str
    pool: str
    image: str

    def __str__(self) -> str:
        return f"{self.pool}/{self.image}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A cluster as one of its users reaches it; what is not given is left to `conf`, and without that unset."""

    monitors: tuple[str, ...] = ()  # host, host:port, [v2:host:port]: as in ceph.conf's mon_host
    user: str = "admin"  # without "client."
    key: str | None = field(default=None, repr=False)
    conf: Path | None = None  # a ceph.conf; none is looked for where none is given
    keyring: Path | None = None

    def __str__(self) -> str:
        return f"client.{self.user} at {', '.join(self.monitors) or self.conf}"
