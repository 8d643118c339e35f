"""Writing an image on RBD with several requests in flight; see stillframe.datapath.sink.Sink."""

from __future__ import annotations

import errno
import queue
import time
from typing import Final

import rbd

from stillframe import heap
from stillframe.disks.rbd.cluster import Cluster
from stillframe.disks.rbd.extents import OBJECT
from stillframe.disks.rbd.names import RbdImage
from stillframe.disks.rbd.opening import Opening
from stillframe.disks.rbd.task import Task
from stillframe.errors.base import StillframeError
from stillframe.errors.capture import DeadlineExceeded, WriteFailed
from stillframe.errors.ceph import CephFull

AHEAD = 8  # requests in flight; librbd keeps a copy of each, so this bounds the memory
ZEROS = bytes(OBJECT)
SLICE = 0.1  # seconds
ABORT = 1.0  # seconds for closing the image; then that goes on in the background


class RbdSink:
    """A new, empty image that was made for this (images.create): what is not written reads as zeros."""

    piece = OBJECT // 2  # as fast as whole ones, in half of the memory

    def __init__(self, cluster: Cluster, image: RbdImage, *, stall: float = 120.0, timeout: float = 10.0) -> None:
        """Open it within `timeout` seconds; a write fails once none has been answered for `stall` seconds."""
        heap.keep()
        self._image_name: Final = image
        self._stall = stall
        self._opening = Opening(Task(cluster, "write an image", image), timeout=timeout)
        self._image: rbd.Image = self._opening.image
        self._flying = 0
        self._position = 0
        self._answers: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()

    def write(self, offset: int, data: memoryview) -> None:
        """A block that is all zeros is not written."""
        self._position = offset + len(data)
        block = bytes(data)
        if ZEROS.startswith(block):  # compares without a copy
            return
        while self._flying >= AHEAD:
            self._take_answer()

        def written(completion: rbd.Completion) -> None:
            self._answers.put((offset, completion.get_return_value()))

        try:
            self._image.aio_write(block, offset, written)
        except rbd.Error as error:
            raise self._failed(offset, error.errno, str(error)) from error
        self._flying += 1

    def zeros(self, offset: int, length: int) -> None:
        """Nothing to write: the image was made empty."""

    def finish(self) -> None:
        while self._flying:
            self._take_answer()
        try:
            self._opening.begin(lambda opened: opened.flush()).result(self._stall)
        except TimeoutError as error:
            raise DeadlineExceeded(what="Writing the image", seconds=self._stall) from error
        except rbd.Error as error:
            raise self._failed(self._position, error.errno, str(error)) from error
        self._opening.close()

    def abort(self) -> None:
        """What is still in flight is left to a thread in the background."""
        self._opening.close(ABORT)

    def _take_answer(self) -> None:
        deadline = time.monotonic() + self._stall
        while True:
            try:
                offset, code = self._answers.get(timeout=SLICE)
                break
            except queue.Empty:
                if time.monotonic() > deadline:
                    raise DeadlineExceeded(what="Writing the image", seconds=self._stall) from None
        self._flying -= 1
        if code < 0:
            raise self._failed(offset, -code, f"librbd answered {code}")

    def _failed(self, offset: int, code: int, words: str) -> StillframeError:
        where = f"{self._image_name}: {words}"
        if code in {errno.ENOSPC, errno.EDQUOT}:
            return CephFull(pool=self._image_name.pool, operator=where)
        return WriteFailed(offset=offset, reason="the Ceph cluster did not take it", operator=where)
