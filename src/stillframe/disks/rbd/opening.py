"""An image kept open on a connection of its own, for the two ends of the data path."""

from __future__ import annotations

from concurrent.futures import Future

import rados
import rbd

from stillframe.disks.rbd import task
from stillframe.disks.rbd.task import ImageWork, T, Task
from stillframe.errors.capture import DeadlineExceeded

CLOSE = 2.0  # seconds; then it is closed in the background


class Opening:
    """Opened and closed by the line's thread, however late; others make only requests that return at once."""

    image: rbd.Image
    size: int  # bytes

    def __init__(self, purpose: Task, *, timeout: float, at: str | None = None, read_only: bool = False) -> None:
        """Open it, or its snapshot `at`, within so many seconds; raises what the task does."""
        self._at = at
        self._task = purpose
        self._read_only = read_only
        self._held: list[rbd.Image | rados.Ioctx] = []
        self._line = purpose.cluster.take()
        self._closed = False
        try:
            with purpose.translated():
                self._line.begin(self._open).result(timeout)
        except TimeoutError as error:
            self.close(0)
            raise DeadlineExceeded(what=purpose.waiting, seconds=timeout) from error
        except BaseException:
            self.close()
            raise

    def begin(self, work: ImageWork[T]) -> Future[T]:
        """The outcome of something that may take long, done in the line's thread."""
        return self._line.begin(lambda _: work(self.image))

    def close(self, timeout: float = CLOSE) -> None:
        """Waits so long for what is in flight, then leaves it behind; never raises, and may be called again."""
        if self._closed:
            return
        self._closed = True
        closing = self._line.begin(self._let_go)
        try:
            closing.result(timeout)
        except (TimeoutError, rados.Error, rbd.Error):
            self._line.abandon()
        self._task.cluster.give_back(self._line)

    def _open(self, connection: rados.Rados) -> None:
        ioctx = task.pool(connection, self._task.image.pool)
        self._held.append(ioctx)
        name = self._task.image.image
        self.image = rbd.Image(ioctx, name, snapshot=self._at, read_only=self._read_only)
        self._held.append(self.image)
        self.size = int(self.image.size())

    def _let_go(self, _: rados.Rados) -> None:
        while self._held:
            self._held.pop().close()
