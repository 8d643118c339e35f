"""What must hold once a capture has ended, however it was broken: the invariants of the matrix, in words."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import libvirt

from lab import blocks, captures, disks
from lab.disks import GuestDisk
from lab.domains import Guest
from lab.matrix.lane import SLOTS, Lane
from lab.matrix.ways import Way
from lab.tools import ToolFailed
from lab.wait import NotInTime, until

Record = dict[str, Any]


class Broken(AssertionError):  # noqa: N818 - reads as what it says
    """An invariant does not hold."""


def guest_is_well(lane: Lane, way: Way, deadline: float) -> None:
    """The guest of a way is given back within this time: it runs, is thawed, and has no job; raises Broken."""
    guest, _ = lane.guests[way.guest]
    _empty(lambda: _of_guest(guest) if way.running else _of_stopped(guest), deadline)
    if way.running:
        witness = lane.witnesses[way.guest]
        witness.writes_on(deadline)
        if complaints := witness.complaints():
            raise Broken(f"the guest lost writes: {complaints}")


def guest_thawed(lane: Lane, way: Way, deadline: float) -> None:
    """As far as a guest is given back while the agent lives and one of its threads hangs; raises Broken."""
    if way.running:
        guest, _ = lane.guests[way.guest]
        _empty(lambda: [words for words in _of_guest(guest) if "has job" not in words], deadline)


def nothing_is_left(lane: Lane, way: Way, deadline: float) -> None:
    """Nothing of any capture is left on host, store or in the records; raises Broken with what is."""
    guest, _ = lane.guests[way.guest]
    _empty(lambda: [*captures.left_behind(lane.service, guest), *_held(lane), *_children(lane)], deadline)
    guest_is_well(lane, way, deadline)


def tells_what_happened(record: Record, *, foreseen: bool = True) -> None:
    """One final state, with the cause where it is not a good end, and a code of its own if foreseen; raises Broken."""
    fault, steps = record["fault"], record["steps"]
    if any(step["ended_at"] is None for step in steps):
        raise Broken(f"a step is still open: {steps}")
    if record["status"] == "completed":
        if fault or not steps or steps[-1]["name"] != "publish" or steps[-1]["failed"]:
            raise Broken(f"it completed, and its timeline says otherwise: {record}")
    elif not (fault and fault["code"] and fault["message"] and fault["hint"]):
        raise Broken(f"it {record['status']}, and does not say why: {record}")
    elif foreseen and fault["code"] == "internal":
        raise Broken(f"it {record['status']} for a cause that nobody foresaw: {record}")


def image_is_right(lane: Lane, way: Way, record: Record) -> None:
    """There is the one image, equal to the disk at the reported instant, or there is none; raises Broken."""
    found = sorted(path.name for path in lane.service.images.glob(f"{record['id']}*"))
    status = lane.service.get(f"/image/v2/images/{record['id']}").status
    if record["status"] != "completed":
        if found or status != 404:
            raise Broken(f"it {record['status']}, and there is an image ({status}): {found}")
        return
    data = [] if _on_rbd(record) else [f"{record['id']}.{record['images'][0]['disk_format']}"]
    if status != 200 or found != [f"{record['id']}.json", *data]:
        raise Broken(f"it completed, and there is not exactly its image ({status}): {found}")
    _, disk = lane.guests[way.guest]
    if not way.running:
        if not disks.same(captures.image(lane.service, record, disk), disk):
            raise Broken("the image is not equal to the disk")
        return
    with tempfile.TemporaryDirectory(dir=lane.directory) as directory:
        plain = _plain(lane, record, disk, Path(directory) / "plain.raw")
        if record["consistency"] == "filesystem" and not blocks.clean(plain):
            raise Broken("the filesystem in the image is not clean")
        last = blocks.written(plain, slots=SLOTS).last  # raises Torn
    earliest, latest = lane.witnesses[way.guest].bounds(datetime.fromisoformat(record["captured_at"]))
    if not earliest <= last <= latest:
        raise Broken(f"the newest block in the image is {last}; at the instant it was {earliest} to {latest}")


def pools_are_as_before(lane: Lane, way: Way, record: Record, deadline: float) -> None:
    """Nothing is in any pool of the lane's cluster but what was, and the image of this capture; raises Broken."""
    if way.on_ceph:
        _empty(lambda: _in_pools(lane, record), deadline)


def no_other_images(lane: Lane, deadline: float, *records: Record) -> None:
    """None but those of these captures; the bytes of a deleted one may still be on their way out. Raises Broken."""
    own = {record["id"] for record in records}

    def others() -> list[str]:
        found = [path.name for path in lane.service.images.glob("*-*-*-*-*")]
        return [f"{name} is nobody's" for name in found if name.split(".")[0] not in own]

    _empty(others, deadline)


def _on_rbd(record: Record) -> bool:
    return (record["source"], record["transfer"]) == ("snapshot", "clone") or record["transfer"] == "import"


def _plain(lane: Lane, record: Record, disk: GuestDisk, target: Path) -> Path:
    """The image as a raw file."""
    if not _on_rbd(record):
        return disks.plain(captures.image(lane.service, record, disk), target)
    described = json.loads((lane.service.images / f"{record['id']}.json").read_text())
    *_, pool, image, snap = described["location"].split("/")
    lane.cluster.rbd("export", "--no-progress", f"{pool}/{image}@{snap}", target)
    return target


def _in_pools(lane: Lane, record: Record) -> list[str]:
    try:
        found = lane.cluster.contents()
    except ToolFailed as error:  # an image went while it was being listed
        return [str(error)]
    own = record["id"] if record["status"] == "completed" else None
    rows = {pool: [row for row in held if own is None or row[0] != own] for pool, held in found.items()}
    return [f"{pool} holds {held}" for pool, held in rows.items() if held != lane.pools[pool]]


def _empty(remains: Any, deadline: float) -> None:
    """Waits until nothing remains; raises Broken with what does."""
    try:
        until(lambda: not remains(), deadline, "nothing to remain", pause=0.05)
    except NotInTime:
        if words := remains():
            raise Broken("; ".join(words)) from None


def _of_guest(guest: Guest) -> list[str]:
    if not guest.running:
        return [f"{guest.name} does not run: {guest.state}"]
    found = []
    try:
        if guest.agent("guest-fsfreeze-status", timeout=2) != "thawed":
            found.append(f"{guest.name} is frozen")
    except libvirt.libvirtError as error:
        found.append(f"the agent of {guest.name} does not answer: {error}")
    job = guest.on_domain(lambda domain: domain.jobInfo()[0])
    return [*found, f"{guest.name} has job {job}"] if job else found


def _of_stopped(guest: Guest) -> list[str]:
    return [f"{guest.name} was started"] if guest.running else []


def _held(lane: Lane) -> list[str]:
    """What the agent's journal names."""
    with closing(sqlite3.connect(f"file:{lane.service.state}/journal.sqlite?mode=ro", uri=True)) as journal:
        found = [f"capture {row[0]} in the journal" for row in journal.execute("SELECT id FROM captures")]
        return found + [f"lease {row} in the journal" for row in journal.execute("SELECT kind, reference FROM leases")]


def _children(lane: Lane) -> list[str]:
    """Processes of the service but itself and its guard."""
    found = []
    for pid in lane.service.children():
        if pid == lane.service.pid:
            continue
        words = Path(f"/proc/{pid}/cmdline")
        command = words.read_bytes().replace(b"\0", b" ").decode() if words.exists() else ""
        if command and "stillframe.agent.guard" not in command:
            found.append(f"process {command}")
    return found
