"""Where cells are run one after another: a libvirtd, guests and a service that can be broken, of its own."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import libvirt

from lab import blocks, disks
from lab.ceph import POOLS, CephCluster
from lab.disks import GuestDisk
from lab.domains import Guest
from lab.factory import Guests
from lab.faulty import Plan
from lab.filesystems import mounted
from lab.libvirtd import PrivateLibvirtd
from lab.matrix.ways import ON_RBD, RUNNING, STOPPED, Way
from lab.matrix.witness import Witness
from lab.service import Options, Service
from lab.tools import ROOT
from lab.wait import until

MIB = 1 << 20
SIZE = 24 * MIB
SLOTS = 64  # of the writers: small images are checked fast
HANG = 4.0  # seconds: longer than every deadline below
SILENCE = 3.0  # seconds after which a stopped service counts as dead

# Short: a cell waits for them. Long enough for a machine that is busy with other lanes.
DEADLINES: Options = {
    "agent": {"guard_grace": 12, "guard_silence": SILENCE, "heartbeat": 0.5, "progress_interval": 0.2},
    "capture": {
        "freeze_timeout": 1.5, "agent_timeout": 1, "step_deadline": 3, "transfer_stall": 3, "scratch_reserve": 4 * MIB,
    },
    "controller": {"host_timeout": 2},
    "ceph": {"timeout": 3},
}  # fmt: skip


class Breakable(Service):
    """A service that breaks at its points as the plan in a directory says; see lab/faulty.py."""

    def __init__(self, directory: Path, host: PrivateLibvirtd, options: Options, plan: Path) -> None:
        super().__init__(directory, host, options)
        self._plan = plan

    def command(self) -> list[str | Path]:
        """In place of `stillframe up`."""
        return [sys.executable, "-P", ROOT / "lab" / "faulty.py", self._plan, "stillframe", "up"]


@dataclass(slots=True)
class Lane:
    """What one cell after another uses."""

    directory: Path
    host: PrivateLibvirtd
    cluster: CephCluster
    pools: dict[str, Any]  # what the cluster holds between captures
    service: Service
    plan: Plan
    guests: dict[str, tuple[Guest, GuestDisk]]
    witnesses: dict[str, Witness] = field(default_factory=dict)
    ceph: Mapping[str, object] = field(default_factory=dict)  # the service's options of that group

    def serve(self, way: Way) -> None:
        """The service has the options that this way needs."""
        if way.ceph != self.ceph:
            self.service.stop()
            self.ceph = way.ceph
            self.service.configure(self.host, _options(self.directory, self.cluster, self.ceph))
            self.service.start()

    def end(self) -> None:
        """Ends the service that there is now."""
        self.service.discard()

    def renew(self) -> None:
        """A service without a past and guests as they were, after a cell that did not hold."""
        self.plan.disarm()
        if self.service.running:
            self.service.kill()  # it may stand still
        self.end()
        shutil.rmtree(self.service.directory)
        for path in (self.service.scratch, self.service.images):
            shutil.rmtree(path, ignore_errors=True)
        for name in RUNNING:
            _mend(self.guests[name][0])
        _swept(self.cluster, self.pools)
        options = _options(self.directory, self.cluster, self.ceph)
        self.service = Breakable(self.directory / "service", self.host, options, self.plan.armed.parent)
        self.service.start()


def _mend(guest: Guest) -> None:
    """Nothing of a broken service stays in the guest's way: no pause, no job, no freeze."""

    def mend(domain: libvirt.virDomain) -> None:
        if domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
            domain.resume()
        if domain.jobInfo()[0]:
            domain.abortJob()

    guest.on_domain(mend)
    until(lambda: not guest.on_domain(lambda domain: domain.jobInfo()[0]), 60, f"the end of the job of {guest.name}")
    guest.agent("guest-fsfreeze-thaw")


def _swept(cluster: CephCluster, before: dict[str, Any]) -> None:
    """Snapshots and images that a broken service has left go."""
    for pool in POOLS:
        known = {(image, snap) for image, snap, *_ in before[pool]}
        left = [(image, snap) for image, snap, *_ in cluster.contents()[pool] if (image, snap) not in known]
        for image, snap in left:
            if snap:
                cluster.rbd("snap", "rm", "--no-progress", "--force", f"{pool}/{image}@{snap}")
        for image in dict.fromkeys(image for image, _ in left):
            if (image, "") not in known:
                cluster.rbd("rm", "--no-progress", f"{pool}/{image}")


@contextmanager
def lane() -> Iterator[Lane]:
    """A lane with its guests up; what can lies in memory, so that no lane waits for another's disk."""
    directory = Path(tempfile.mkdtemp(prefix="sfm-", dir="/dev/shm"))  # sockets need short paths
    on_disk = Path(tempfile.mkdtemp(prefix="sfm-", dir="/var/tmp"))
    with ExitStack() as stack:
        for path in (directory, on_disk):
            stack.callback(shutil.rmtree, path, ignore_errors=True)
        cluster = stack.enter_context(CephCluster(on_disk / "c"))
        host = stack.enter_context(PrivateLibvirtd(directory / "host"))
        sharing = stack.enter_context(mounted("xfs", directory / "sharing", 320 * MIB, host))
        plain = stack.enter_context(mounted("ext4", directory / "plain", 160 * MIB, host))
        guests = Guests(host, directory)
        stack.callback(guests.remove)
        made = dict(_guests(guests, plain, sharing, cluster))
        plan = Plan(directory)
        service = Breakable(directory / "service", host, _options(directory, cluster, {}), directory)
        made_lane = Lane(directory, host, cluster, cluster.contents(), service, plan, made)
        stack.callback(made_lane.end)
        for name in RUNNING:
            _booted(made[name][0])
            witness = made_lane.witnesses[name] = Witness(made[name][0])
            stack.callback(witness.close)
        made_lane.service.start()
        yield made_lane


def _guests(
    guests: Guests, plain: Path, sharing: Path, cluster: CephCluster
) -> Iterator[tuple[str, tuple[Guest, GuestDisk]]]:
    writer = blocks.autorun(slots=SLOTS, pause_us=100_000, report_ms=500)  # calm: the processors are for the lanes
    for name, place in zip(RUNNING, (plain, sharing, plain), strict=True):
        disk = disks.raw(place / name, SIZE, writer)
        if name == ON_RBD:
            disk = cluster.disk(disk, name)
        yield name, (guests.define(disk).start(), disk)
    for name, place in zip(STOPPED, (plain, sharing), strict=True):
        disk = disks.raw(place / name, SIZE, {"some": bytes(range(256)) * 1024})
        yield name, (guests.define(disk), disk)


def _booted(guest: Guest) -> None:
    guest.booted()
    until(lambda: blocks.reports(guest.serial()), 60, f"the writer's first report in {guest.serial_log}")


def _options(directory: Path, cluster: CephCluster, ceph: Mapping[str, object]) -> Options:
    options = {group: dict(values) for group, values in DEADLINES.items()}
    options["capture"]["scratch_dir"] = directory / "plain" / "scratch"
    options["images"] = {"directory": directory / "sharing" / "images", "rbd_locations": True}
    options["ceph"] |= ceph
    access = {"monitors": ",".join(cluster.monitors), "user": "glance", "keyring": cluster.keyring("glance")}
    return {**options, "ceph.lab": access} if "clusters" in ceph else options
