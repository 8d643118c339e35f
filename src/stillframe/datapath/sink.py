"""Where an image's bytes go."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from stillframe.datapath.chunks import Run
from stillframe.datapath.preallocation import preallocate
from stillframe.datapath.reader import PIECE
from stillframe.errors.base import StillframeError
from stillframe.errors.capture import NoSpace, WriteFailed

ALIGNMENT = 4096  # of O_DIRECT: no logical block in use is larger
WRITE_BACK = 32 << 20
PART = 96 << 10  # bytes of a request: what a guest asks the same device for waits behind no more than that
NEAR = 256 << 20  # bytes a second; a slower store is hardly the guest's device, and what counts there are few requests


class Sink(Protocol):
    """Takes one image from the first byte to the last, in ascending order without gaps, from one thread.

    So a stream can be a sink as well as a file.
    """

    @property
    def piece(self) -> int:
        """Bytes of one write that suit it best."""

    def write(self, offset: int, data: memoryview) -> None:
        """These bytes at this offset; the memory is used again once this returns. Raises WriteFailed, NoSpace."""

    def zeros(self, offset: int, length: int) -> None:
        """So many zeros at this offset; may be many, and a file leaves a hole. Raises WriteFailed, NoSpace."""

    def finish(self) -> None:
        """All has been written: return once it is durable. Raises WriteFailed, NoSpace."""

    def abort(self) -> None:
        """Let go of it unfinished; what was written stays for whoever holds its lease. Never raises."""


class FileSink:
    """A new file, sparse where the image has holes.

    Written around the page cache (O_DIRECT), one small request at a time: a guest's own synchronous writes to the same
    device are then never queued behind gigabytes of dirty pages. Where the filesystem has no O_DIRECT, the cache is
    written back every 32 MiB.
    """

    piece = PIECE

    def __init__(self, path: Path, length: int, mode: int = 0o600, runs: Iterable[Run] = ()) -> None:
        """Create the file, which must not exist, with this length and mode; raises WriteFailed, NoSpace.

        `runs`: where it will be written, ascending; the blocks of one are taken together, sooner than with each write.
        """
        self._path = path
        self._length = length
        self._runs = iter(runs)
        self._run = next(self._runs, None)
        self._part = PART
        self._cached = 0  # bytes written through the page cache since it was last written back
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._failed(0, error) from error
        self._open = True
        try:
            os.fchmod(self._fd, mode)
            os.ftruncate(self._fd, length)
        except OSError as error:
            self.abort()
            raise self._failed(0, error) from error
        self._direct = self._set_direct(on=True)

    @property
    def direct(self) -> bool:
        """Whether writes go around the page cache."""
        return self._direct

    def write(self, offset: int, data: memoryview) -> None:
        """Bytes whose memory, offset or length is not aligned take the way through the page cache."""
        whole = len(data) // ALIGNMENT * ALIGNMENT if self._direct and offset % ALIGNMENT == 0 else 0
        self._take_blocks(offset + len(data))
        try:
            done = self._write_direct(offset, data[:whole]) if whole else 0
            if done < len(data):
                self._write_cached(offset + done, data[done:])
        except OSError as error:
            raise self._failed(offset, error) from error

    def zeros(self, offset: int, length: int) -> None:
        """The file was made with its length: nothing to write leaves a hole."""

    def finish(self) -> None:
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise self._failed(self._length, error) from error
        self._close()

    def abort(self) -> None:
        self._close()

    def _take_blocks(self, end: int) -> None:
        """Of each run that begins before `end`; where that fails, the writes will tell why."""
        while self._run is not None and self._run.target < end:
            failed = preallocate(self._fd, self._run.target, self._run.length)
            self._run = None if failed else next(self._runs, None)

    def _write_direct(self, offset: int, data: memoryview) -> int:
        """How many bytes got there; the rest, after an unaligned short write or a refusal, is for the cache."""
        done, began = 0, time.monotonic()
        while done < len(data) and done % ALIGNMENT == 0:
            try:
                done += os.pwrite(self._fd, data[done : done + self._part], offset + done)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._direct = False
                self._set_direct(on=False)
                break
        near = len(data) <= PIECE and done >= NEAR * (time.monotonic() - began)  # larger pieces come from Ceph
        self._part = PART if near else max(len(data), PART)
        return done

    def _write_cached(self, offset: int, data: memoryview) -> None:
        if self._direct:
            self._set_direct(on=False)
        done = 0
        while done < len(data):
            done += os.pwrite(self._fd, data[done:], offset + done)
        if self._direct:
            self._set_direct(on=True)
        self._cached += done
        if self._cached >= WRITE_BACK:
            os.fdatasync(self._fd)
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)
            self._cached = 0

    def _set_direct(self, *, on: bool) -> bool:
        """True if the filesystem agreed."""
        flags = fcntl.fcntl(self._fd, fcntl.F_GETFL) & ~os.O_DIRECT
        try:
            fcntl.fcntl(self._fd, fcntl.F_SETFL, flags | os.O_DIRECT if on else flags)
        except OSError:
            return False
        return on

    def _close(self) -> None:
        if self._open:
            self._open = False
            os.close(self._fd)

    def _failed(self, offset: int, error: OSError) -> StillframeError:
        where = f"{self._path}: {error.strerror}"
        if error.errno == errno.ENOSPC:
            free = os.statvfs(self._path.parent)
            available = free.f_bavail * free.f_frsize
            return NoSpace(what="image store", needed=self._length - offset, free=available, operator=where)
        if error.errno == errno.EDQUOT:
            return WriteFailed(offset=offset, reason="the disk quota is used up", operator=where)
        return WriteFailed(offset=offset, reason=error.strerror or type(error).__name__, operator=where)
