"""One thing that is asked of a cluster: done within a deadline, its failures told in Stillframe's words."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import rados
import rbd

from stillframe.disks.rbd.cluster import OSD_TIMEOUT, Cluster
from stillframe.disks.rbd.line import Work
from stillframe.disks.rbd.names import RbdImage
from stillframe.errors.base import StillframeError
from stillframe.errors.capture import DeadlineExceeded
from stillframe.errors.ceph import CephFailed, CephForbidden, CephFull, PoolMissing, RbdInUse, RbdMissing, RbdNameTaken

T = TypeVar("T")
PoolWork = Callable[[rados.Ioctx], T]
ImageWork = Callable[[rbd.Image], T]

WRITE = "profile rbd"
READ = "profile rbd-read-only"


@dataclass(frozen=True, slots=True)
class Task:
    """What is done to which image, for whoever is told that it failed."""

    cluster: Cluster
    what: str  # completes "The user may not ..." and "The cluster could not ..."
    image: RbdImage
    snap: str = ""
    caps: str = WRITE  # the OSD capability that it takes

    @property
    def thing(self) -> str:
        """The image or its snapshot, in words."""
        return f"Snapshot {self.image}@{self.snap}" if self.snap else f"Image {self.image}"

    @property
    def waiting(self) -> str:
        """What takes too long where it does, in words."""
        return f"Waiting for Ceph to {self.what}"

    def run(self, timeout: float, work: PoolWork[T], undo: PoolWork[object] | None = None) -> T:
        """What `work` returns for the image's pool; raises StillframeErrors only."""
        with self.translated():
            return self.cluster.call(self.waiting, timeout, self._in_pool(work), undo and self._in_pool(undo))

    def on_image(
        self, timeout: float, work: ImageWork[T], undo: ImageWork[object] | None = None, *, read_only: bool = False
    ) -> T:
        """What `work` returns for the image, opened; raises StillframeErrors only."""
        return self.run(timeout, self._opened(work, read_only), undo and self._opened(undo, read_only))

    def _opened(self, work: ImageWork[T], read_only: bool) -> PoolWork[T]:
        def on_it(ioctx: rados.Ioctx) -> T:
            with rbd.Image(ioctx, self.image.image, read_only=read_only) as opened:
                return work(opened)

        return on_it

    def _in_pool(self, work: PoolWork[T]) -> Work[T]:
        def in_it(connection: rados.Rados) -> T:
            with pool(connection, self.image.pool) as ioctx:
                return work(ioctx)

        return in_it

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raises the bindings' errors inside as Stillframe's."""
        try:
            yield
        except (rados.Error, rbd.Error) as error:
            raise self.failure(error) from error

    def failure(self, error: Exception) -> StillframeError:  # noqa: PLR0911 - a table
        """The Stillframe error for one of the bindings'."""
        words = str(error)
        match getattr(error, "errno", None):
            case errno.EPERM | errno.EACCES:
                return self.forbidden(words)
            case errno.ENOENT:
                return RbdMissing(what=self.thing, operator=words)
            case errno.EEXIST:
                return RbdNameTaken(what=self.thing, operator=words)
            case errno.EBUSY | errno.ENOTEMPTY:
                return RbdInUse(what=self.thing, reason="it has clones, snapshots or an opener", operator=words)
            case errno.ESTALE:
                return RbdInUse(what=self.thing, reason="somebody else is changing it", operator=words)
            case errno.ENOSPC | errno.EDQUOT:
                return CephFull(pool=self.image.pool, operator=words)
            case errno.ETIMEDOUT:
                return DeadlineExceeded(what=self.waiting, seconds=float(OSD_TIMEOUT), operator=words)
            case _:
                return CephFailed(what=self.what, operator=words)

    def forbidden(self, words: str) -> CephForbidden:
        """The user lacks `caps` in the image's pool."""
        user, where = self.cluster.user, self.image.pool
        return CephForbidden(user=user, may=self.what, pool=where, caps=self.caps, operator=words)


def pool(connection: rados.Rados, name: str) -> rados.Ioctx:
    """The pool, closed by the caller or as a context; raises PoolMissing."""
    try:
        return connection.open_ioctx(name)
    except rados.ObjectNotFound as error:
        raise PoolMissing(pool=name, operator=str(error)) from error
