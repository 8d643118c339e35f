"""A clone made independent of its parent."""

from __future__ import annotations

import errno
import threading
import time
from concurrent.futures import Future

import rados
import rbd

from stillframe.datapath.control import Control
from stillframe.disks.rbd import extents, images, task
from stillframe.disks.rbd.cluster import Cluster
from stillframe.disks.rbd.names import RbdImage
from stillframe.disks.rbd.task import Task
from stillframe.errors.capture import DeadlineExceeded

SLICE = 0.1  # seconds between two checks of whoever waits
GRACE = 5.0  # seconds that a cancelled flatten has to end before its connection is given up


def flatten(cluster: Cluster, image: RbdImage, control: Control) -> None:
    """Copies what the clone still shares; nothing where it has no parent. It can be used meanwhile.

    `control` cancels it, limits its rate and counts its bytes (this announces them); what was copied stays, so a second
    call goes on from there. Raises RbdMissing, DeadlineExceeded when nothing moves for `control.stall` seconds.
    """
    flattening = Task(cluster, "flatten a clone", image)
    steps = _Steps(control)

    def work(connection: rados.Rados) -> None:
        with task.pool(connection, image.pool) as ioctx, rbd.Image(ioctx, image.image) as opened:
            if images.parent_of(opened) is None:
                return
            steps.expect(opened)
            opened.flatten(steps.reached)

    with cluster.line() as line:
        ended = line.begin(work)
        try:
            _wait(ended, steps, control)
        except BaseException:
            steps.stop.set()
            if not _settled(ended, GRACE):
                line.abandon()
            raise
        with flattening.translated():
            ended.result()


def _wait(ended: Future[None], steps: _Steps, control: Control) -> None:
    """Until it has ended, well or not; raises what ends the wait before."""
    while not _settled(ended, SLICE):
        control.check()
        if time.monotonic() - steps.moved > control.stall:
            raise DeadlineExceeded(what="Flattening a clone", seconds=control.stall)


def _settled(ended: Future[None], timeout: float) -> bool:
    try:
        ended.exception(timeout)
    except TimeoutError:
        return False
    return True


class _Steps:
    """What librbd reports of each object, from threads of its own, before it begins with it."""

    def __init__(self, control: Control) -> None:
        self.moved = time.monotonic()
        self.stop = threading.Event()
        self._control = control
        self._shared: set[int] = set()
        self._unit = 0

    def expect(self, opened: rbd.Image) -> None:
        """Finds out which objects have still to be copied, and announces them."""
        self._unit = opened.stat()["obj_size"]
        own = self._objects(extents.data(opened, parents=False))
        self._shared = self._objects(extents.data(opened, parents=True)) - own
        self._control.meter.expect(len(self._shared) * self._unit)

    def reached(self, number: int, _: int) -> int:
        """Holds librbd up where the rate says so; a negative answer makes it stop."""
        self.moved = time.monotonic()
        if number in self._shared:
            self._shared.discard(number)
            self._control.throttle.take(self._unit)
            self._control.meter.add(self._unit)
        while (seconds := self._control.throttle.wait()) > 0 and not self.stop.wait(min(seconds, SLICE)):
            self.moved = time.monotonic()
        return -errno.ECANCELED if self.stop.is_set() else 0

    def _objects(self, ranges: list[extents.Range]) -> set[int]:
        unit = self._unit
        return {number for offset, length in ranges for number in range(offset // unit, -(-(offset + length) // unit))}
