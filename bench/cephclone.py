"""A guest that writes, saved inside its Ceph cluster: at any size in a moment, and without Nova's copy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rados
import rbd

from bench import latency
from bench.experiment import GIB, MIB, Experiment, Options
from bench.ground import Saved, ground, saved
from bench.quiet import settle
from bench.results import Result
from lab import captures, disks
from lab.ceph import CephCluster
from lab.disks import GuestDisk
from lab.domains import Guest
from lab.service import Service
from lab.wait import until

LARGE, SMALL = 100 * GIB, GIB
DATA = 512 * MIB
PIECES = 64  # the data does not lie in one place
SYSTEM = 64 * MIB
RUNS = 5
FLAT_DEADLINE = 300.0
CASES = ("ceph-clone-100gib-vs-1gib", "ceph-clone-s", "ceph-clone-vs-nova")
OPTIONS = {"images": {"rbd_locations": True}}


def run(options: Options) -> list[Result]:
    """Both sizes in turn, then Nova's sequence on the small one, which goes on writing meanwhile."""
    runs, data = options.runs(RUNS), options.data(DATA)
    large: list[float] = []
    small: list[float] = []
    nova: list[float] = []
    with ground(options.directory) as place, CephCluster(place.directory / "ceph") as ceph:
        try:
            sizes = (LARGE, SMALL)
            guests = [place.guests.writing(_disk(ceph, place.directory, size, data)) for size in sizes]
            with Service(place.directory / "service", place.host, OPTIONS) as service:
                for guest in guests:
                    guest.suspend()
                for number in range(1, runs + 1):
                    for guest, found in zip(guests, (large, small), strict=True):
                        with _alone(guest):
                            settle()
                            found.append(_cloned(service, guest))
                    with _alone(guests[1]):
                        settle()
                        nova.append(_novas_way(ceph, f"disk{SMALL}"))
                    options.say(
                        f"turn {number} of {runs}: {large[-1]:.2f} s, 1 GiB {small[-1]:.2f} s, Nova {nova[-1]:.2f} s"
                    )
        finally:
            place.guests.remove()  # before their cluster goes
    return [
        Result.of(CASES[0], large, small, "s", "1 GiB"),
        Result.of(CASES[1], large, small, "s", "1 GiB"),
        Result.of(CASES[2], small, nova, "s", "Nova's snap, clone, flatten, snap"),
    ]


@contextmanager
def _alone(guest: Guest) -> Iterator[None]:
    """Of all guests only this one goes on: they share the processors and the OSD of one small machine."""
    guest.resume()
    yield
    guest.suspend()


def _disk(ceph: CephCluster, directory: Path, size: int, data: int) -> GuestDisk:
    """A disk on RBD with a small filesystem for the writer at its beginning, and data all over the rest."""
    disk = ceph.disk(disks.raw(directory / f"disk{size}.raw", SYSTEM, latency.AUTORUN), f"disk{size}")
    piece = bytes(range(256)) * (data // PIECES // 256)
    with ceph.administrator() as cluster, cluster.open_ioctx("vms") as pool, rbd.Image(pool, f"disk{size}") as image:
        image.resize(size)
        for number in range(PIECES):
            image.write(piece, SYSTEM + number * ((size - SYSTEM) // PIECES) // MIB * MIB)
    return disk


def _cloned(service: Service, guest: Guest) -> float:
    """Seconds of a capture; its image is deleted once it is flat."""
    done = saved(service, guest)
    _expect_clone(done)
    identity = done.record["id"]
    until(lambda: not captures.record(service, identity)["held"], FLAT_DEADLINE, "the image to be flat")
    answer = service.request("DELETE", f"/image/v2/images/{identity}", timeout=60)
    if answer.status != 204:
        raise RuntimeError(f"image {identity} was not deleted: {answer.status} {answer.body}")
    return done.seconds


def _expect_clone(done: Saved) -> None:
    way = done.record["source"], done.record["transfer"]
    if way != ("snapshot", "clone"):
        raise RuntimeError(f"saved by {way}, not by a clone: {done.record['refused']}")


def _novas_way(ceph: CephCluster, disk: str) -> float:
    """Seconds of Nova's direct snapshot: what its image back end does, call by call, as its user."""
    settings = {"client_mount_timeout": "10"}
    with (
        rados.Rados(conffile=str(ceph.conf), rados_id="nova", conf={**settings, "keyring": str(ceph.keyring("nova"))})
        as cluster,
        cluster.open_ioctx("vms") as pool,
    ):  # fmt: skip
        began = time.monotonic()
        with rbd.Image(pool, disk) as image:
            image.create_snap("nova")
            image.protect_snap("nova")
        rbd.RBD().clone(pool, disk, "nova", pool, "nova-image")
        with rbd.Image(pool, "nova-image") as image:
            image.flatten()
        with rbd.Image(pool, disk) as image:
            image.unprotect_snap("nova")
            image.remove_snap("nova")
        with rbd.Image(pool, "nova-image") as image:
            image.create_snap("snap")
            image.protect_snap("snap")
        seconds = time.monotonic() - began
        with rbd.Image(pool, "nova-image") as image:
            image.unprotect_snap("snap")
            image.remove_snap("snap")
        rbd.RBD().remove(pool, "nova-image")
    return seconds


EXPERIMENT = Experiment("cephclone", CASES, run)
