"""What the demos share: a VM that writes, saved with the client, its image looked into; nothing is left at the end."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from lab import blocks, disks
from lab.blocks import Written
from lab.disks import GuestDisk
from lab.domains import Guest
from lab.guest import guest_system
from lab.leaks import leaks
from lab.service import STILLFRAME, Service
from lab.wait import until

MIB = 1 << 20
DISK_SIZE = 1024 * MIB
FILLER = 512 * MIB  # data that does not compress, so that the copy takes long enough to be watched
MARKER = "stillframe-demo"


class Interrupted(Exception):  # noqa: N818
    """Ctrl-C or SIGTERM."""


class Failed(Exception):  # noqa: N818
    """The demo did not show what it is there to show."""


def perform(name: str, show: Callable[[Path], None], place: str | None = None) -> int:
    """Runs a demo in a directory of its own in `place`, which is gone at the end; the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # so that it keeps its order with what the client prints
    started = time.monotonic()
    try:
        with _directory(place) as directory:
            show(directory)
            remaining = leaks(directory)
            if remaining:
                raise Failed("left behind: " + "; ".join(remaining))
    except Interrupted:
        print(f"{name}: interrupted; nothing is left behind")
        return 130
    except Failed as error:
        print(f"{name}: failed: {error}")
        return 1
    print(f"Done in {time.monotonic() - started:.0f} s; all processes, mounts and files of it are gone.")
    print(f"{name}: ok")
    return 0


def bootable(directory: Path) -> GuestDisk:
    """A raw disk that boots by itself, whose guest writes numbered blocks."""
    filler = directory / "filler"
    with filler.open("wb") as file:
        for _ in range(FILLER // (8 * MIB)):
            file.write(os.urandom(8 * MIB))
    files: disks.Files = {"MARKER": f"{MARKER}\n", "filler": filler, **blocks.autorun()}
    plain = disks.bootable(directory / "demo.raw", DISK_SIZE, guest_system(), files)
    filler.unlink()
    return plain


def capture(service: Service) -> dict[str, Any]:
    """Saves the running VM with the command line client; the capture's record."""
    create = ["server", "image", "create", "demo", "--name", "golden", "--wait"]
    say(f"$ stillframe {' '.join(create)}")
    record: dict[str, Any] = json.loads(_cli(service, *create, "-f", "json", stdout=subprocess.PIPE))
    show = ["capture", "show", record["id"], "--fit-width"]
    say(f"$ stillframe {' '.join(show)}")
    _cli(service, *show)
    return record


def _cli(service: Service, *words: str, stdout: int | None = None) -> str:
    """What it wrote to `stdout` if that is a pipe; else that goes to the terminal like progress bar and errors."""
    argv = [str(STILLFRAME), *words]
    done = subprocess.run(argv, stdout=stdout, text=True, env=service.client(), timeout=120, check=False)
    if done.returncode:
        raise Failed(f"stillframe {' '.join(words)}: exit {done.returncode}\n{service.log()[-4000:]}")
    return str(done.stdout or "")


def checked(plain: Path, before: int, after: int) -> Written:
    """What a raw image holds, checked without booting it; its file is removed."""
    try:
        if not blocks.clean(plain, partitioned=True):
            raise Failed("the filesystem in the image is not clean")
        found = blocks.written(plain, partitioned=True)
    except blocks.Torn as error:
        raise Failed(f"the image holds blocks of several instants: {error}") from error
    finally:
        plain.unlink()
    print("    e2fsck: the filesystem is clean, with nothing to replay.")
    print(f"    The blocks in it are an unbroken prefix, 1 to {found.last}: the disk as it was at one instant.")
    if not before <= found.last <= after:
        raise Failed(f"block {found.last} is not between {before} and {after}")
    return found


def unharmed(original: Guest) -> None:
    """The guest has lost nothing and goes on."""
    complaints = blocks.complaints(original.serial())
    if complaints or not original.running:
        raise Failed(f"the VM was harmed: {complaints}, state {original.state}")
    longest = max(report.longest for report in blocks.reports(original.serial())[1:])
    print(f"    It has lost no write; its longest write took {longest * 1000:.0f} ms.")


def goes_on(second: Guest, found: Written) -> None:
    """A VM that was made from the image has booted from it, and writes on from where the image ends."""
    second.line(rf"LAB marker {MARKER}\n")
    said = int(second.line(r"LAB writer found=(\d+)")[1])
    print(f"    Its serial console says: found {said} blocks, going on from there.")
    if said != found.last:
        raise Failed(f"the second VM found {said} blocks, the image holds {found.last}")
    second.line(rf"LAB writer n=(?!{said}\b)\d+")


def newest(guest: Guest) -> int:
    """The number that the writer says next."""
    offset = len(guest.serial())
    until(lambda: blocks.reports(guest.serial()[offset:]), 30, "the writer's next report")
    return blocks.reports(guest.serial()[offset:])[0].last


@contextmanager
def _directory(place: str | None) -> Iterator[Path]:
    """A directory of its own; short, for the sockets in it."""
    directory = Path(tempfile.mkdtemp(prefix="sfd-", dir=place))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def say(text: str) -> None:
    print(f"\n{text}")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """The first signal begins the clean-up, later ones do not disturb it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise Interrupted
