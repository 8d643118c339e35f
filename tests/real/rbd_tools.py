"""What the tests of captures on Ceph share: guests on RBD, what images hold there, and what is left."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab import blocks, captures, disks
from lab.ceph import CephCluster
from lab.disks import GuestDisk
from lab.domains import Guest
from lab.factory import Guests
from lab.libvirtd import PrivateLibvirtd
from lab.service import Options, Service
from lab.tools import ToolFailed
from lab.wait import NotInTime, until
from tests.real import live_tools as live
from tests.real.live_tools import SIZE, SLOTS, Writing

LOCATIONS = {"images": {"rbd_locations": True}}
Contents = dict[str, Any]


def options(**ceph: object) -> Options:
    """Those of a service that publishes by locations; `ceph` is the group of that name."""
    return {**LOCATIONS, "ceph": ceph}


def store_cluster(ceph: CephCluster, **more: object) -> Options:
    """A cluster of the image store's own, reached as `glance`, into which disks are imported."""
    access = {"monitors": ",".join(ceph.monitors), "user": "glance", "keyring": ceph.keyring("glance")}
    importing = {"clusters": "west", "store_cluster": "west", "convert_ceph_raw_for_qcow2": True}
    return {**LOCATIONS, "ceph": {**importing, **more}, "ceph.west": access}


def on_rbd(ceph: CephCluster, tmp: Path, *, user: str = "nova", target: str = "vda", **writer: Any) -> GuestDisk:
    """A new disk on RBD whose guest writes numbered blocks."""
    name = f"disk-{uuid.uuid4().hex[:8]}"
    made = ceph.disk(disks.raw(tmp / f"{name}.raw", SIZE, blocks.autorun(slots=SLOTS, **writer)), name, user=user)
    return GuestDisk(made.path, made.format, kind=made.kind, target=target, rbd=made.rbd)


def removed(ceph: CephCluster, disk: GuestDisk) -> None:
    """The disk is deleted, as Nova does it: nothing of ours may stand in the way."""
    ceph.rbd("rm", "--no-progress", str(disk.path))


@contextmanager
def writing(ceph: CephCluster, host: PrivateLibvirtd) -> Iterator[Writing]:
    """A guest that writes slowly to its disk on RBD, for all tests of a module."""
    with live.directory() as path:
        guests = Guests(host, path)
        disk = on_rbd(ceph, path, pause_us=20000)
        try:
            yield Writing(guests.writing(disk), disk)
        finally:
            guests.remove()
            removed(ceph, disk)


def record(service: Service, shown: dict[str, Any], number: int = 0) -> dict[str, Any]:
    """An image as the directory has it."""
    path = service.images / f"{shown['images'][number]['id']}.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def placed(service: Service, shown: dict[str, Any], number: int = 0) -> str:
    """pool/image@snap, from the location of an image."""
    _, _, _, pool, image, snap = record(service, shown, number)["location"].split("/")
    return f"{pool}/{image}@{snap}"


def exported(ceph: CephCluster, place: str, tmp: Path) -> Path:
    """What a snapshot on RBD holds, as a raw file."""
    path = tmp / f"{uuid.uuid4().hex}.raw"
    ceph.rbd("export", "--no-progress", place, path, timeout=120)
    return path


def digest(path: Path, algorithm: str = "sha256") -> str:
    """The hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def consistent(path: Path, shown: dict[str, Any]) -> int:
    """The newest block of a raw image: all before it are there, and it is clean if it was frozen."""
    if shown["consistency"] == "filesystem":
        assert blocks.clean(path)
    return blocks.written(path, slots=SLOTS).last


def flat(service: Service, capture_id: str, deadline: float = 60) -> None:
    """Waits until nothing is held for the capture any more."""

    def held() -> list[str]:
        found: list[str] = captures.record(service, capture_id)["held"]
        return found

    try:
        until(lambda: not held(), deadline, "everything to be given back")
    except NotInTime:
        pytest.fail(f"still held: {held()}\n{service.log()[-3000:]}")


def delete(service: Service, image_id: str, expected: int = 204) -> Any:
    """DELETE of an image; the answer's body."""
    answer = service.request("DELETE", f"/image/v2/images/{image_id}", timeout=60)
    assert answer.status == expected, answer
    return answer.body


def same(ceph: CephCluster, before: Contents, deadline: float = 60) -> None:
    """Waits until every pool holds what it held before: whoever had an image open may count as open for 30 s more."""

    def as_before() -> bool:
        try:
            return ceph.contents() == before
        except ToolFailed:  # an image went while it was being listed
            return False

    try:
        until(as_before, deadline, "the pools to be as before", pause=0.5)
    except NotInTime:
        pytest.fail(f"the pools hold {ceph.contents()}, and held {before}")


def tidy(service: Service, ceph: CephCluster, before: Contents, guest: Guest | None = None) -> None:
    """Nothing is left of any capture: not in the pools, not on the host."""
    live.tidy(service, guest, deadline=30)
    same(ceph, before)
