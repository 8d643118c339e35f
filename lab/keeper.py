"""Keeps a mount namespace: `python keeper.py DIRECTORY`. It imports nothing of the project: it runs on its own.

Each line on its standard input is a command that it runs there, as JSON: {"run": [...], "log": "path"}; it answers with
the process id. It reaps its children and their orphans, such as QEMU, at once (a domain counts as running until then,
and PID 1 may take seconds). When its input ends, its parent is gone: then it ends everything in the namespace.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path

MNT_DETACH = 2
PR_SET_CHILD_SUBREAPER = 36


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
    for line in Path("/proc/self/mounts").read_text().splitlines():
        mount = Path(line.split()[1])
        root = next((path for path in (mount, *mount.parents) if re.match("sf[a-z]-", path.name)), None)
        if root is not None and not directory.is_relative_to(root):
            ctypes.CDLL(None).umount2(os.fsencode(mount), MNT_DETACH)


def run(argv: list[str], log: str) -> int:
    """Starts a command in a session of its own with both outputs appended to `log`; its process id."""
    appending = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, appending, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    defaults = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
    return os.posix_spawn(argv[0], argv, os.environ, file_actions=files, setsid=True, setsigdef=defaults)


def reap(*_: object) -> None:
    """Takes note of every child that has ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def say(words: object) -> None:
    """One line to the parent."""
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def main() -> None:
    """Says "ready", obeys until the end of standard input, then kills."""
    if Path("/proc/self/ns/mnt").readlink() == Path(f"/proc/{os.getppid()}/ns/mnt").readlink():
        sys.exit("keeper.py kills its whole mount namespace, and this one is its parent's")
    let_go_of_strangers(Path(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGCHLD, reap)
    say("ready")
    for line in sys.stdin:
        order = json.loads(line)
        say(run(order["run"], order["log"]))
    for _ in range(50):
        for pid in neighbours():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
