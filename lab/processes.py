"""Processes of the lab: which there are, and that they are gone. A zombie counts as gone: PID 1 may reap slowly."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lab.wait import until


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def matching(test: Callable[[Path], bool]) -> tuple[int, ...]:
    """The living processes whose /proc directory passes the test; those that vanish meanwhile are left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                if test(entry) and alive(int(entry.name)):
                    found.append(int(entry.name))
    return tuple(sorted(found))


def mentioning(path: Path) -> tuple[int, ...]:
    """The living processes of this mount namespace with this path in their command line, other than this one.

    Guests of a private libvirtd live in another namespace.
    """
    needle = os.fsencode(path)
    me, here = str(os.getpid()), mount_namespace(os.getpid())

    def mentions(entry: Path) -> bool:
        if entry.name == me or needle not in (entry / "cmdline").read_bytes():
            return False
        return str((entry / "ns" / "mnt").readlink()) == here

    return matching(mentions)


def in_mount_namespace(namespace: str) -> tuple[int, ...]:
    """The living processes of a mount namespace, given as /proc/PID/ns/mnt's target."""
    return matching(lambda entry: str((entry / "ns" / "mnt").readlink()) == namespace)


def mount_namespace(pid: int) -> str:
    """The name of a process's mount namespace."""
    return str(Path(f"/proc/{pid}/ns/mnt").readlink())


def end(pids: Callable[[], tuple[int, ...]], what: str, deadline: float = 20) -> None:
    """SIGKILL to all that `pids` names until it names none; raises NotInTime."""

    def gone() -> bool:
        remaining = pids()
        for pid in remaining:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not remaining

    until(gone, deadline, f"the end of {what}")
