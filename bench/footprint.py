"""Which files grow while something runs, and how many bytes a device and a process have written."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

INTERVAL = 0.1  # seconds: a temporary file of a capture lives for longer, or is small
SECTOR = 512


class Peak:
    """The most bytes that were there at once."""

    def __init__(self) -> None:
        self.bytes = 0


@contextmanager
def watched(bytes_now: Callable[[], int]) -> Iterator[Peak]:
    """Looks again and again during the block."""
    peak, done = Peak(), threading.Event()

    def look() -> None:
        while True:
            ended = done.wait(INTERVAL)
            peak.bytes = max(peak.bytes, bytes_now())
            if ended:
                return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def new_files(directory: Path, *but: Path) -> Callable[[], int]:
    """Counts the bytes of files made in the directory from now on, but not of what lies below the paths `but`."""
    known = {path for path, _ in _files(directory)}

    def count() -> int:
        found = ((path, taken) for path, taken in _files(directory) if path not in known)
        return sum(taken for path, taken in found if not any(path.is_relative_to(each) for each in but))

    return count


def lengths(directory: Path) -> Callable[[], int]:
    """Counts the bytes that the files of a directory are long; what is reserved for them behind does not count."""

    def count() -> int:
        total = 0
        for path in directory.iterdir():
            try:
                total += path.stat().st_size
            except FileNotFoundError:
                continue
        return total

    return count


def _files(directory: Path) -> Iterator[tuple[Path, int]]:
    """Every file below, with the bytes it takes; one that vanishes meanwhile is left out."""
    for parent, _, names in os.walk(directory):
        for name in names:
            path = Path(parent, name)
            try:
                yield path, path.lstat().st_blocks * SECTOR
            except FileNotFoundError:
                continue


def device_written(path: Path) -> int:
    """Bytes that were written to the block device under this path since the machine started."""
    os.sync()
    number = path.stat().st_dev
    fields = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/stat").read_text().split()
    return int(fields[6]) * SECTOR


def reset_peak_memory(pids: tuple[int, ...]) -> None:
    """The peaks of these processes are counted from now on."""
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_memory(pids: tuple[int, ...]) -> int:
    """The sum of the most bytes of memory that each process had."""
    return sum(_status(pid, "VmHWM") for pid in pids)


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)
