"""Where cells are run one after another: a libvirtd, guests and a service that can be broken, of its own."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import libvirt

from lab import blocks, disks
from lab.disks import GuestDisk
from lab.domains import Guest
from lab.factory import Guests
from lab.faulty import Plan
from lab.filesystems import mounted
from lab.libvirtd import PrivateLibvirtd
from lab.matrix.ways import RUNNING, STOPPED
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
}  # fmt: skip


class Breakable(Service):
    """A service that breaks at its points as the plan in a directory says; see lab/faulty.py."""

    def __init__(self, directory: Path, host: PrivateLibvirtd, options: Options, plan: Path) -> None:
        super().__init__(directory, host, options)
        self._plan = plan

    def command(self) -> list[str | Path]:
        """In place of `stillframe up`."""
        return [sys.executable, "-P", ROOT / "lab" / "faulty.py", self._plan, "up"]


@dataclass(slots=True)
class Lane:
    """What one cell after another uses."""

    directory: Path
    host: PrivateLibvirtd
    service: Service
    plan: Plan
    guests: dict[str, tuple[Guest, GuestDisk]]
    witnesses: dict[str, Witness] = field(default_factory=dict)

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
        self.service = _service(self.directory, self.host, self.plan)
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


@contextmanager
def lane() -> Iterator[Lane]:
    """A lane with its guests up; everything lies in memory, so that no lane waits for another's disk."""
    directory = Path(tempfile.mkdtemp(prefix="sfm-", dir="/dev/shm"))  # sockets need short paths
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        host = stack.enter_context(PrivateLibvirtd(directory / "host"))
        sharing = stack.enter_context(mounted("xfs", directory / "sharing", 320 * MIB, host))
        plain = stack.enter_context(mounted("ext4", directory / "plain", 160 * MIB, host))
        guests = Guests(host, directory)
        stack.callback(guests.remove)
        made = dict(_guests(guests, plain, sharing))
        plan = Plan(directory)
        made_lane = Lane(directory, host, _service(directory, host, plan), plan, made)
        stack.callback(made_lane.end)
        for name in RUNNING:
            _booted(made[name][0])
            witness = made_lane.witnesses[name] = Witness(made[name][0])
            stack.callback(witness.close)
        made_lane.service.start()
        yield made_lane


def _guests(guests: Guests, plain: Path, sharing: Path) -> Iterator[tuple[str, tuple[Guest, GuestDisk]]]:
    writer = blocks.autorun(slots=SLOTS, pause_us=100_000, report_ms=500)  # calm: the processors are for the lanes
    for name, place in zip(RUNNING, (plain, sharing), strict=True):
        disk = disks.raw(place / name, SIZE, writer)
        yield name, (guests.define(disk).start(), disk)
    for name, place in zip(STOPPED, (plain, sharing), strict=True):
        disk = disks.raw(place / name, SIZE, {"some": bytes(range(256)) * 1024})
        yield name, (guests.define(disk), disk)


def _booted(guest: Guest) -> None:
    guest.booted()
    until(lambda: blocks.reports(guest.serial()), 60, f"the writer's first report in {guest.serial_log}")


def _service(directory: Path, host: PrivateLibvirtd, plan: Plan) -> Service:
    options = {group: dict(values) for group, values in DEADLINES.items()}
    options["capture"]["scratch_dir"] = directory / "plain" / "scratch"
    options["images"] = {"directory": directory / "sharing" / "images"}
    return Breakable(directory / "service", host, options, plan.armed.parent)
