"""What the tests of recovery, cancel, service and faults share: guests of a module, hooked agents, journals."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import blocks, captures, disks
from lab.disks import GuestDisk
from lab.domains import Guest
from lab.factory import Guests
from lab.leaks import leaks
from lab.libvirtd import PrivateLibvirtd
from lab.service import Options, Service
from lab.wait import NotInTime, until

KIB, MIB = 1 << 10, 1 << 20
SIZE = 64 * MIB
SLOTS = 512
SLOWLY = 1536 * KIB  # bytes a second: a capture of a guest here then takes some seconds


@contextmanager
def directory() -> Iterator[Path]:
    """As the fixture `tmp`, for longer than one test."""
    path = Path(tempfile.mkdtemp(prefix="sft-", dir="/tmp"))  # sockets need short paths
    path.chmod(0o755)
    yield path
    try:
        until(lambda: not leaks(path), 5, "the end of what the tests used")
    except NotInTime:
        pytest.fail("left behind:\n" + "\n".join(leaks(path)))
    shutil.rmtree(path)


@dataclass(frozen=True, slots=True)
class Writing:
    """A guest that writes numbered blocks as long as it runs, and its disk."""

    guest: Guest
    disk: GuestDisk

    def unharmed(self) -> None:
        """It runs, is not frozen, writes on, and has lost no write."""
        assert self.guest.running
        assert self.guest.agent("guest-fsfreeze-status") == "thawed"
        said = len(blocks.reports(self.guest.serial()))
        until(lambda: len(blocks.reports(self.guest.serial())) > said, 30, f"{self.guest.name} to write on")
        assert blocks.complaints(self.guest.serial()) == []

    def saved(self, service: Service, shown: dict[str, Any], scratch: Path) -> int:
        """The newest block of a completed capture's image: all before it are there, and it is clean if frozen."""
        plain = disks.plain(captures.image(service, shown, self.disk), scratch)
        if shown["consistency"] == "filesystem":
            assert blocks.clean(plain)
        return blocks.written(plain, slots=SLOTS).last


@contextmanager
def writing(host: PrivateLibvirtd, count: int = 1) -> Iterator[list[Writing]]:
    """So many guests that write slowly, for all tests of a module."""
    with directory() as path:
        guests = Guests(host, path)
        try:
            made = [disks.raw(path / f"disk{number}", SIZE, blocks.autorun(slots=SLOTS, pause_us=20000))
                    for number in range(count)]  # fmt: skip
            started = [guests.define(disk).start() for disk in made]
            for guest in started:
                guest.booted()
                until(lambda guest=guest: blocks.reports(guest.serial()), 60, "the writer's first report")  # type: ignore[misc]
            yield [Writing(guest, disk) for guest, disk in zip(started, made, strict=True)]
        finally:
            guests.remove()


@contextmanager
def serving(host: PrivateLibvirtd, options: Options | None = None) -> Iterator[Service]:
    """A service for all tests of a module."""
    with directory() as path, Service(path / "service", host, options) as service:
        yield service


# ----------------------------------------------------------------------------------------------- the guest agent


def hook_agent(guest: Guest, freeze: str = ":", thaw: str = ":") -> None:
    """Has the guest agent run these lines before its next freeze and after its next thaw; it hangs meanwhile."""
    once = "\n".join(
        f"{kind}) [ -e /tmp/{kind} ] || exit 0\nrm /tmp/{kind}\necho LAB {kind} hook >/dev/console\n{lines}\n;;"
        for kind, lines in (("freeze", freeze), ("thaw", thaw))
    )
    hook = f"#!/bin/sh\ncase $1 in\n{once}\nesac\nexit 0\n"
    guest.execute(
        f"cat >/tmp/hook.new <<'END'\n{hook}END\nchmod 755 /tmp/hook.new; mv /tmp/hook.new /tmp/hook;"
        " touch /tmp/freeze /tmp/thaw"
    )
    if guest.execute("test -e /tmp/hooked && echo yes || echo no").strip() == "yes":
        return
    port = guest.line(r"LAB ready uptime=\S+ port=(\S+)")[1]
    said = len(guest.serial())
    agent = f"setsid qemu-ga -m virtio-serial -p {port} -t /var/run -f /var/run/qga.pid -F/tmp/hook"
    script = f"touch /tmp/hooked; sleep 0.3; kill $(pidof qemu-ga); sleep 0.3; echo LAB hooked >/dev/console; {agent}"
    guest.agent("guest-exec", path="/bin/sh", arg=["-c", script])
    guest.line("LAB hooked", 30, after=said)
    guest.wait_for_agent()


def thawed(guest: Guest, deadline: float) -> None:
    """Waits until the guest agent says that nothing is frozen."""

    def says() -> bool:
        guest.wait_for_agent(deadline)
        return bool(guest.agent("guest-fsfreeze-status") == "thawed")

    until(says, deadline, f"{guest.name} to be thawed", pause=0.1)


# --------------------------------------------------------------------------------------------------- the service


def answers(service: Service) -> bool:
    """Whether the API can be asked."""
    try:
        return service.get("/").status < 500
    except OSError:
        return False


def step(shown: dict[str, Any], name: str) -> dict[str, Any] | None:
    """The last step of this name on the timeline."""
    return next((each for each in reversed(shown["steps"]) if each["name"] == name), None)


def in_step(service: Service, capture_id: str, name: str, deadline: float = 30) -> dict[str, Any]:
    """The record once this step has begun."""

    def begun() -> dict[str, Any] | None:
        shown = captures.record(service, capture_id)
        assert shown["status"] not in captures.FINAL, shown
        return shown if step(shown, name) else None

    return until(begun, deadline, f"capture {capture_id} to begin {name}")


def failed(service: Service, capture_id: str, code: str, deadline: float = captures.DEADLINE) -> dict[str, Any]:
    """The record of a capture that ended for this cause."""
    shown = captures.ended(service, capture_id, deadline)
    assert (shown["status"], shown["fault"]["code"]) == ("failed", code), shown
    return shown


def kept(service: Service) -> list[str]:
    """What the agent's journal still holds, in words."""
    with closing(sqlite3.connect(f"file:{service.state}/journal.sqlite?mode=ro", uri=True)) as journal:
        found = [f"capture {row[0]}" for row in journal.execute("SELECT id FROM captures")]
        return found + [f"lease {row}" for row in journal.execute("SELECT capture_id, kind, reference FROM leases")]


def in_journal(service: Service, column: str) -> dict[str, Any]:
    """What the agent's journal says of the only capture."""
    with closing(sqlite3.connect(f"file:{service.state}/journal.sqlite?mode=ro", uri=True)) as journal:
        row = journal.execute(f"SELECT {column} FROM captures").fetchone()  # noqa: S608 - a name from here
    return json.loads(row[0]) if row and row[0] else {}


def asked_for_commit(service: Service) -> bool:
    """Whether all bytes of the only capture are there, and the agent wants to know whether it may publish."""
    return bool(in_journal(service, "kept").get("results"))


def tidy(service: Service, guest: Guest | None = None, deadline: float = 10) -> None:
    """Waits until the service has forgotten all of its captures; nothing may be left of them."""

    def remains() -> list[str]:
        return [*captures.left_behind(service, guest), *kept(service)]

    try:
        until(lambda: not remains(), deadline, "nothing to be left", pause=0.1)
    except NotInTime:
        pytest.fail("left behind:\n" + "\n".join(remains()))
