"""Holds a mount namespace open, and ends everything in it as soon as its parent is gone: `python keeper.py DIRECTORY`.

It reads its standard input, which is a pipe of its parent's. It imports nothing of the project: it runs on its own.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path


def neighbours() -> list[int]:
    """All other processes of this mount namespace."""
    own = Path("/proc/self/ns/mnt").readlink()
    found = []
    for name in (path.name for path in Path("/proc").iterdir()):
        with suppress(OSError):
            if name.isdigit() and int(name) != os.getpid() and Path("/proc", name, "ns/mnt").readlink() == own:
                found.append(int(name))
    return found


def let_go_of_strangers(directory: Path) -> None:
    """Unmounts here what other tests have mounted: our copies would keep their devices busy after they have ended.

    The directories of tests, demo and benchmarks are called sft-..., sfd-... and so on.
    """
    detach = 2  # MNT_DETACH
    for line in Path("/proc/self/mounts").read_text().splitlines():
        mount = Path(line.split()[1])
        root = next((path for path in (mount, *mount.parents) if re.match("sf[a-z]-", path.name)), None)
        if root is not None and not directory.is_relative_to(root):
            ctypes.CDLL(None).umount2(os.fsencode(mount), detach)


def main() -> None:
    """Says "ready", waits for the end of standard input, then kills."""
    if Path("/proc/self/ns/mnt").readlink() == Path(f"/proc/{os.getppid()}/ns/mnt").readlink():
        sys.exit("keeper.py kills its whole mount namespace, and this one is its parent's")
    let_go_of_strangers(Path(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while sys.stdin.buffer.read(4096):
        pass
    for _ in range(50):
        for pid in neighbours():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
