"""Which run of a domain this is: what was frozen, paused or held in one life of QEMU means nothing to the next.

The id is `BOOT:DOMAIN:PID:START`: the host's boot id, libvirt's domain id, and QEMU's pid and start time (clock ticks
since boot). It outlives libvirtd's restarts and the guest's reboots; no later run has the same. Where QEMU's process
cannot be seen, the last two are `?`: libvirt may then give an id again once it restarted with nothing running.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

_SYSTEM_DIRECTORY = Path("/run/libvirt/qemu")
_START_FIELD = 19  # of /proc/PID/stat, counted after the command's closing parenthesis


def run_of(uri: str, domain: Any) -> str | None:
    """The id of the run of this libvirt domain, which was looked up just before; None when it does not run."""
    number = domain.ID()
    if number in (-1, None):
        return None
    pid = _qemu(uri, domain)
    return f"{_boot()}:{number}:{pid or '?'}:{_started(pid) or '?'}"


def ended(run: str) -> bool:
    """True when QEMU's process of this run is certainly no more, which needs no libvirt to tell."""
    boot, _, pid, started = run.split(":") if run.count(":") == 3 else ("", "", "?", "?")
    if "?" in (pid, started):
        return False
    return boot != _boot() or _started(int(pid)) != started


def owner_of(uri: str, domain: Any) -> tuple[int, int] | None:
    """User and group that QEMU's process of this domain runs as; None where it cannot be seen."""
    pid = _qemu(uri, domain)
    if pid is None:
        return None
    try:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    except OSError:
        return None
    return int(status["Uid"].split()[1]), int(status["Gid"].split()[1])  # the effective ones


def pid_directory(uri: str) -> Path:
    """Where the libvirtd at this URI keeps its QEMU processes' pid files."""
    parts = urlsplit(uri)
    socket = parse_qs(parts.query).get("socket")
    if socket:
        return Path(socket[0]).parent / "qemu"
    if parts.path == "/session":
        return Path(os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}"), "libvirt/qemu/run")
    return _SYSTEM_DIRECTORY


def _qemu(uri: str, domain: Any) -> int | None:
    """QEMU's pid; None unless that process names the domain: a pid of another namespace means nothing here."""
    try:
        pid = int((pid_directory(uri) / f"{domain.name()}.pid").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if domain.UUIDString().encode() in words else None


def _started(pid: int | None) -> str | None:
    if pid is None:
        return None
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[_START_FIELD]  # a zombie has let go of everything


@cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
