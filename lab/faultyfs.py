"""A filesystem that refuses what it is told to refuse: a disk that dies, a quota, a mount that has become read-only.

`python lab/faultyfs.py DIRECTORY WHERE ORDERS` serves the directory by FUSE until it is unmounted. While there is a
file ORDERS, which holds a Refusal as JSON, the operations that it names fail with its error. Tests use `passing`.
"""

from __future__ import annotations

import ctypes
import errno
import fnmatch
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from lab.filesystems import unmount
from lab.libvirtd import PrivateLibvirtd
from lab.tools import ROOT, environment
from lab.wait import until

os.environ.setdefault("FUSE_LIBRARY_NAME", "fuse3")
from mfusepy import FUSE, FuseOSError, Operations  # after it was told which library

CHANGES = ("write", "truncate", "fallocate", "create", "unlink", "rename", "link", "mkdir", "rmdir", "chmod", "chown")
SYNCS = ("fsync", "fsyncdir")
LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What fails from now on, and how."""

    error: str  # as errno names it: EIO, EDQUOT, EROFS
    operations: tuple[str, ...] = CHANGES + SYNCS
    names: str = "*"  # of the files, as a shell pattern


class Faulty:
    """The side of the tests: a filesystem that is healthy until it is told to refuse."""

    def __init__(self, where: Path, orders: Path) -> None:
        self.where = where
        self._orders = orders

    def refuse(self, error: str, *operations: str, names: str = "*") -> None:
        """From here on these operations fail; without any, all that change something do."""
        refusal = Refusal(error, operations or CHANGES + SYNCS, names)
        draft = self._orders.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(refusal)))
        draft.rename(self._orders)

    def heal(self) -> None:
        """Nothing fails any more."""
        self._orders.unlink(missing_ok=True)


@contextmanager
def passing(where: Path, *hosts: PrivateLibvirtd) -> Iterator[Faulty]:
    """A filesystem at `where` (made), here and in the namespaces of `hosts`, over a new directory beside it.

    Each namespace has a server of its own, since a mount that is made later does not reach the others; they share the
    directory and the orders. The guests that use it must be gone at the end.
    """
    behind, orders = where.with_name(f"{where.name}.behind"), where.with_name(f"{where.name}.orders")
    behind.mkdir()
    where.mkdir()
    faulty = Faulty(where, orders)
    with ExitStack() as stack:
        stack.callback(faulty.heal)
        for host in (None, *hosts):
            stack.enter_context(_served(behind, where, orders, host))
        yield faulty


@contextmanager
def _served(behind: Path, where: Path, orders: Path, host: PrivateLibvirtd | None) -> Iterator[None]:
    inside = () if host is None else host.inside
    argv: list[str | Path] = [*inside, sys.executable, "-P", ROOT / "lab" / "faultyfs.py", behind, where, orders]
    server = subprocess.Popen(
        ["setpriv", "--pdeathsig", "TERM", *argv],
        stdin=subprocess.DEVNULL,
        env=environment({"PYTHONPATH": str(ROOT)}),
    )
    try:
        until(lambda: _mounted(server, where), 20, f"the filesystem at {where}")
        yield
        unmount(where, host)
    finally:
        server.terminate()
        server.wait(20)


def _mounted(server: subprocess.Popen[bytes], where: Path) -> bool:
    if server.poll() is not None:
        raise RuntimeError(f"the server of {where} ended: {server.returncode}")
    mounts = Path(f"/proc/{server.pid}/mountinfo").read_text().splitlines()
    return any(line.split()[4] == str(where) for line in mounts)


Operation = TypeVar("Operation", bound=Callable[..., Any])


def _refusable(operation: Operation) -> Operation:
    """An operation that fails while the orders say so."""

    @wraps(operation)
    def refusing(self: _Passing, *args: Any) -> Any:
        self.expect_allowed(operation.__name__, *(Path(arg).name for arg in args[:2] if isinstance(arg, str)))
        return operation(self, *args)

    return cast("Operation", refusing)


class _Passing(Operations):  # type: ignore[misc]
    """What the kernel asks, done in the directory behind."""

    use_ns = True

    def __init__(self, behind: Path, orders: Path) -> None:
        self._behind = behind
        self._orders = orders

    def expect_allowed(self, operation: str, *names: str) -> None:
        """Raises what the orders say of this operation on these files."""
        try:
            refusal = Refusal(**json.loads(self._orders.read_text()))
        except FileNotFoundError:
            return
        if operation in refusal.operations and any(fnmatch.fnmatch(name, refusal.names) for name in names):
            raise FuseOSError(getattr(errno, refusal.error))

    def _at(self, path: str) -> str:
        return f"{self._behind}{path}"

    # ---------------------------------------------------------------------------------------------------- looking

    def getattr(self, path: str, fh: int | None = None) -> Mapping[str, int]:
        status = os.lstat(self._at(path)) if fh is None else os.fstat(fh)
        names = ("st_mode", "st_ino", "st_nlink", "st_uid", "st_gid", "st_size", "st_blocks")
        times = {name: getattr(status, f"{name}_ns") for name in ("st_atime", "st_mtime", "st_ctime")}
        return {name: getattr(status, name) for name in names} | times

    def readdir(self, path: str, fh: int) -> list[tuple[str, Mapping[str, int], int]]:
        with os.scandir(self._at(path)) as entries:
            found = {entry.name: entry.inode() for entry in entries}
        return [(name, {"st_ino": number}, 0) for name, number in found.items()]  # without a number it is not listed

    def statfs(self, path: str) -> Mapping[str, int]:
        room = os.statvfs(self._at(path))
        names = ("bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree", "favail", "namemax")
        return {f"f_{name}": getattr(room, f"f_{name}") for name in names}

    # ------------------------------------------------------------------------------------------------------ files

    @_refusable
    def create(self, path: str, mode: int, fi: object = None) -> int:
        return os.open(self._at(path), os.O_RDWR | os.O_CREAT, mode)

    def open(self, path: str, flags: int) -> int:
        return os.open(self._at(path), flags & ~os.O_DIRECT)  # which wants aligned memory

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    @_refusable
    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        return os.pwrite(fh, data, offset)

    @_refusable
    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        os.truncate(self._at(path) if fh is None else fh, length)

    @_refusable
    def fallocate(self, path: str, mode: int, offset: int, size: int, fh: int) -> None:
        if LIBC.fallocate(fh, mode, ctypes.c_int64(offset), ctypes.c_int64(size)):
            raise FuseOSError(ctypes.get_errno())

    @_refusable
    def fsync(self, path: str, datasync: int, fh: int) -> None:
        os.fsync(fh)

    @_refusable
    def fsyncdir(self, path: str, datasync: int, fh: int) -> None:
        """A directory is durable with what is behind it."""

    def release(self, path: str, fh: int) -> None:
        os.close(fh)

    # ------------------------------------------------------------------------------------------------------ names

    @_refusable
    def unlink(self, path: str) -> None:
        os.unlink(self._at(path))

    @_refusable
    def rename(self, old: str, new: str) -> None:
        os.rename(self._at(old), self._at(new))

    @_refusable
    def link(self, target: str, source: str) -> None:
        os.link(self._at(source), self._at(target))

    @_refusable
    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(self._at(path), mode)

    @_refusable
    def rmdir(self, path: str) -> None:
        os.rmdir(self._at(path))

    @_refusable
    def chmod(self, path: str, mode: int) -> None:
        os.chmod(self._at(path), mode)

    @_refusable
    def chown(self, path: str, uid: int, gid: int) -> None:
        os.chown(self._at(path), uid, gid)


def serve(behind: Path, where: Path, orders: Path) -> None:
    """Until it is unmounted. Nothing is cached: other servers change the same directory."""
    fresh = {"attr_timeout": 0, "entry_timeout": 0, "negative_timeout": 0}
    plainly = {"use_ino": True, "hard_remove": True}
    FUSE(_Passing(behind, orders), str(where), foreground=True, fsname="faulty", **fresh, **plainly)


if __name__ == "__main__":
    serve(*map(Path, sys.argv[1:4]))
