"""Child processes: limited, ended with their parent, and provably ours after a restart."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import IO

from stillframe import heap
from stillframe.errors.capture import DeadlineExceeded, ToolFailed

# A crafted header has made qemu-img eat all memory; honest images need a tenth of this.
ADDRESS_SPACE = 1 << 30
DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")


@dataclass(frozen=True, slots=True)
class Child:
    """A process that we started; the start time proves that the pid was not taken over by another."""

    pid: int
    started: int  # clock ticks after boot, field 22 of /proc/PID/stat


def run(argv: Sequence[str], *, timeout: float) -> str:
    """Runs a tool to its end and gives its standard output.

    Raises ToolFailed (standard error in the operator's part) and DeadlineExceeded.
    """
    limits = ("prlimit", f"--as={ADDRESS_SPACE}", f"--cpu={int(timeout) + 1}", "--")
    try:
        done = subprocess.run(
            [*DIES_WITH_US, *limits, *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            env=_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DeadlineExceeded(what=argv[0], seconds=timeout) from error
    except OSError as error:
        raise ToolFailed(tool=argv[0], operator=str(error)) from error
    if done.returncode != 0:
        raise ToolFailed(tool=argv[0], operator=_words(done.stderr, done.returncode))
    return done.stdout.decode(errors="replace")


def spawn(argv: Sequence[str], stderr: IO[bytes]) -> Child:
    """Starts a process that goes on in the background and dies with this process; raises ToolFailed."""
    # The kernel ends the child with the *thread* that made it, so each gets a thread that lives as long and reaps it.
    started: SimpleQueue[Child | OSError] = SimpleQueue()
    Thread(target=_accompany, args=([*DIES_WITH_US, *argv], stderr, started), name=argv[0], daemon=True).start()
    child = started.get()
    if isinstance(child, OSError):
        raise ToolFailed(tool=argv[0], operator=str(child)) from child
    return child


def _accompany(argv: Sequence[str], stderr: IO[bytes], started: SimpleQueue[Child | OSError]) -> None:
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env={**_environment(), **heap.ENVIRONMENT},
        )
    except OSError as error:
        started.put(error)
        return
    started.put(Child(process.pid, _stat(process.pid)[1]))
    process.wait()


def alive(child: Child) -> bool:
    """True while exactly this process runs; a zombie counts as gone."""
    try:
        state, started = _stat(child.pid)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return started == child.started and state not in "ZX"


def children_with(argument: str) -> list[Child]:
    """The running processes of this host that have exactly this word in their command line."""
    found = []
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        try:
            words = (directory / "cmdline").read_bytes().split(b"\0")
            child = Child(int(directory.name), _stat(int(directory.name))[1])
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended meanwhile, or belongs to somebody else
        if os.fsencode(argument) in words:
            found.append(child)
    return found


def stop(child: Child, timeout: float) -> None:
    """Ends it: SIGTERM, then SIGKILL. Nothing happens when it is gone; raises DeadlineExceeded."""
    try:
        handle = os.pidfd_open(child.pid)
    except ProcessLookupError:
        return
    try:
        # From here on the handle cannot come to mean another process, so looking now is soon enough.
        if not alive(child):
            return
        deadline = time.monotonic() + timeout
        if _ended(handle, signal.SIGTERM, timeout / 2):
            return
        if not _ended(handle, signal.SIGKILL, deadline - time.monotonic()):
            raise DeadlineExceeded(what=f"Ending process {child.pid}", seconds=timeout)
    finally:
        os.close(handle)


def _ended(handle: int, by: signal.Signals, timeout: float) -> bool:
    try:
        signal.pidfd_send_signal(handle, by)
    except ProcessLookupError:
        return True
    poll = select.poll()
    poll.register(handle, select.POLLIN)  # readable once it has ended, reaped or not
    return bool(poll.poll(max(timeout, 0) * 1000))


def _stat(pid: int) -> tuple[str, int]:
    """State letter and start time; the command name before them may itself hold blanks and brackets."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return fields[0].decode(), int(fields[19])


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _words(stderr: bytes, code: int) -> str:
    text = stderr.decode(errors="replace").strip()[-2000:]
    return text or (f"killed by signal {-code}" if code < 0 else f"exit code {code}")
