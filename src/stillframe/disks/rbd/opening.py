"""An image kept open on a connection of its own, for the two ends of the data path."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Final

import rados
import rbd

from stillframe.disks.rbd import task
from stillframe.disks.rbd.task import Task
from stillframe.errors import DeadlineExceeded

CLOSE = 2.0  # seconds; then it is closed in the background


class Opening:
    """The open image belongs to the line's thread; only requests that return at once are made from others."""

    def __init__(self, purpose: Task, *, timeout: float, read_only: bool) -> None:
        """Open it within so many seconds; raises what the task does."""
        self._task = purpose
        self._read_only = read_only
        self._line = purpose.cluster.take()
        self._open = True
        self._ioctx: rados.Ioctx | None = None
        try:
            with purpose.translated():
                self.image: Final[rbd.Image] = self._line.call(
                    f"Waiting for Ceph to {purpose.what}", timeout, self._opened
                )
        except BaseException:
            self._give_back()
            raise

    def begin(self, work: task.ImageWork[task.T]) -> Future[task.T]:
        """The outcome of something that may take long, done in the line's thread."""
        return self._line.begin(lambda _: work(self.image))

    def close(self, timeout: float = CLOSE) -> None:
        """Waits so long for what is in flight, then leaves it behind; never raises, and may be called again."""
        if not self._open:
            return
        self._open = False
        closing = self._line.begin(self._closed)
        try:
            closing.result(timeout)
        except (TimeoutError, rados.Error, rbd.Error, DeadlineExceeded):
            self._line.abandon()
        self._give_back()

    def _opened(self, connection: rados.Rados) -> rbd.Image:
        pool = task.pool(connection, self._task.image.pool)
        try:
            image = rbd.Image(pool, self._task.image.image, snapshot=self._task.snap or None, read_only=self._read_only)
        except BaseException:
            pool.close()
            raise
        self._ioctx = pool
        return image

    def _closed(self, _: rados.Rados) -> None:
        self.image.close()
        if self._ioctx is not None:
            self._ioctx.close()

    def _give_back(self) -> None:
        self._open = False
        self._task.cluster.give_back(self._line)
