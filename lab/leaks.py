"""What a test may have left behind: processes, mounts, loop devices and sockets that have to do with a directory."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from lab import processes
from lab.tools import tool


def leaks(directory: Path) -> list[str]:
    """Everything outside the filesystem that still refers to `directory`, in words."""
    return [*_processes(directory), *_mounts(directory), *_loops(directory), *_sockets(directory)]


def _processes(directory: Path) -> list[str]:
    prefix = f"{directory}/"
    me = str(os.getpid())

    def uses(entry: Path) -> bool:
        if entry.name == me:
            return False
        if os.fsencode(directory) in (entry / "cmdline").read_bytes():
            return True
        return any(target.startswith(prefix) for target in _open_files(entry))

    found = []
    for pid in processes.matching(uses):
        with suppress(FileNotFoundError, ProcessLookupError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found.append(f"process {pid}: {words[:300]}")
    return found


def _open_files(entry: Path) -> list[str]:
    targets = [str((entry / "cwd").readlink())]
    for descriptor in (entry / "fd").iterdir():
        with suppress(FileNotFoundError):
            targets.append(str(descriptor.readlink()))
    return targets


def _mounts(directory: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [f"mount {line}" for line in lines if line.split()[1].startswith(f"{directory}/")]


def _loops(directory: Path) -> list[str]:
    lines = tool("losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE").splitlines()
    return [f"loop device {line}" for line in lines if f"{directory}/" in line]


def _sockets(directory: Path) -> list[str]:
    lines = Path("/proc/net/unix").read_text().splitlines()
    return [f"socket {line.split()[-1]}" for line in lines if f" {directory}/" in line]
