"""Connections to Ceph clusters: pooled, and never waited for beyond a deadline."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, TypeVar

import rados

from stillframe.disks.rbd.door import refusal
from stillframe.disks.rbd.line import Line, Work
from stillframe.disks.rbd.names import Endpoint, RbdImage
from stillframe.errors.capture import DeadlineExceeded

T = TypeVar("T")

CONNECT = 10.0  # seconds
IDLE = 4  # connections kept for the next call; each is some threads and sockets
# Beyond these the library gives up by itself, so that an abandoned thread ends: longer than any deadline of a caller's,
# and than an OSD's peers take to replace it.
OSD_TIMEOUT = 150
MON_TIMEOUT = 60


class Cluster:
    """A cluster as one user reaches it; any thread may use it."""

    def __init__(self, endpoint: Endpoint, *, timeout: float = CONNECT) -> None:
        """Connect within so many seconds; raises CephUnreachable, CephRefused."""
        self.endpoint: Final = endpoint
        self._timeout = timeout
        self._lock = threading.Lock()
        self._idle: list[Line] = []
        self._closed = False
        self.fsid: Final[str] = self.call("Connecting to Ceph", timeout, lambda connection: connection.get_fsid())

    @property
    def user(self) -> str:
        """Without "client."."""
        return self.endpoint.user

    def image(self, pool: str, image: str) -> RbdImage:
        """An image of this cluster."""
        return RbdImage(self.fsid, pool, image)

    def call(self, what: str, timeout: float, work: Work[T], undo: Work[object] | None = None) -> T:
        """What `work` returns for a connection of this cluster.

        Raises what `work` raises, CephUnreachable, or DeadlineExceeded ("`what` took longer than ..."): the work then
        goes on behind its connection, which is never used again and shut down once it returns. What comes of it then is
        undone by `undo`.
        """
        with self.line() as line:
            return line.call(what, timeout, work, undo)

    @contextmanager
    def line(self) -> Iterator[Line]:
        """A connected line for oneself; it goes back to the others at the end unless it was abandoned."""
        line = self.take()
        try:
            yield line
        finally:
            self.give_back(line)

    def take(self) -> Line:
        """A connected line, to be given back; raises CephUnreachable, CephRefused."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        line = Line(partial(_connected, self.endpoint, self._timeout))
        try:
            line.call("Connecting to Ceph", self._timeout + 1, _nothing)
        except (rados.Error, DeadlineExceeded) as error:
            line.abandon()
            raise refusal(self.endpoint, self._timeout, error) from error
        return line

    def give_back(self, line: Line) -> None:
        """Kept for the next one, or let go."""
        with self._lock:
            if not line.abandoned and not self._closed and len(self._idle) < IDLE:
                self._idle.append(line)
                return
        line.abandon()

    def close(self) -> None:
        """Lets go of all connections, those in use as soon as they are given back; waits for none."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for line in idle:
            line.abandon()


class Clusters:
    """All clusters of this host, each connected when it is first asked for."""

    def __init__(self, *, timeout: float = CONNECT) -> None:
        """`timeout`: seconds for making a connection."""
        self._timeout = timeout
        self._lock = threading.Lock()
        self._known: dict[Endpoint, Cluster] = {}

    def open(self, endpoint: Endpoint) -> Cluster:
        """The cluster, connected; the same one for the same endpoint. Raises CephUnreachable, CephRefused."""
        with self._lock:
            known = self._known.get(endpoint)
        if known is not None:
            return known
        made = Cluster(endpoint, timeout=self._timeout)
        with self._lock:
            known = self._known.setdefault(endpoint, made)
        if known is not made:
            made.close()
        return known

    def close(self) -> None:
        """Lets go of all connections; never waits for one that hangs."""
        with self._lock:
            known, self._known = self._known, {}
        for cluster in known.values():
            cluster.close()


def _connected(endpoint: Endpoint, timeout: float) -> rados.Rados:
    """A connection; what it is told wins over the configuration file."""
    told = {
        # `connect`'s own argument does not bound the time; this does
        "client_mount_timeout": str(max(1, round(timeout))),
        "rados_osd_op_timeout": str(OSD_TIMEOUT),
        "rados_mon_op_timeout": str(MON_TIMEOUT),
        "mon_host": ",".join(endpoint.monitors),
        "key": endpoint.key or "",
        "keyring": str(endpoint.keyring or ""),
        "log_to_stderr": "false",
        "err_to_stderr": "false",
    }
    conf = {name: value for name, value in told.items() if value}
    conffile = rados.Rados.NO_CONF_FILE if endpoint.conf is None else str(endpoint.conf)
    connection = rados.Rados(rados_id=endpoint.user, conffile=conffile, conf=conf)
    connection.connect()
    return connection


def _nothing(_connection: rados.Rados) -> None:
    """To know that the line is connected."""
