"""What the tests of hypervisor and guard share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import libvirt

from lab.domains import Guest
from lab.tools import tool
from stillframe.hypervisor import backup
from stillframe.hypervisor.backup import BackupDisk
from stillframe.hypervisor.connection import Connection
from stillframe.hypervisor.events import DomainEvent

MIB = 1 << 20


@contextmanager
def connected(uri: str) -> Iterator[Connection]:
    """An open connection."""
    connection = Connection(uri)
    connection.open()
    try:
        yield connection
    finally:
        connection.close()


class Heard:
    """Every event of a connection from now on."""

    def __init__(self, connection: Connection) -> None:
        self.events: list[DomainEvent] = []
        connection.subscribe(self.events.append)

    def of(self, guest: Guest) -> list[str]:
        """Kinds of the events of this guest, in their order."""
        return [event.kind.value for event in self.events if event.instance_id == guest.id]

    def kinds(self) -> list[str]:
        """Kinds of all events."""
        return [event.kind.value for event in self.events]


def scratch(path: Path, size: int) -> Path:
    """An empty scratch file for a disk of this size."""
    tool("qemu-img", "create", "-q", "-f", "qcow2", path, str(size))
    return path


def begin(connection: Connection, guest: Guest, tmp: Path, name: str = "b", size: int = 64 * MIB) -> Path:
    """Begins a backup of the guest's vda; its socket."""
    socket = tmp / f"{name}.sock"
    begin_of(connection, guest, socket, [BackupDisk("vda", "vda", scratch(tmp / f"{name}.scratch", size))])
    return socket


def begin_of(
    connection: Connection, guest: Guest, socket: Path, disks: list[BackupDisk], others: Sequence[str] = ()
) -> None:
    """Begins a backup of these disks; they are served when it returns."""
    with backup.prepared(connection, guest.id, socket, disks, others) as job:
        job.begin()


@contextmanager
def small_filesystem(directory: Path, size: int) -> Iterator[Path]:
    """A tmpfs of this size; a libvirtd that is to see it must be started later."""
    directory.mkdir()
    tool("mount", "-t", "tmpfs", "-o", f"size={size}", "small", directory)
    try:
        yield directory
    finally:
        tool("umount", directory)


def foreign_backup(guest: Guest, socket: Path) -> None:
    """Begins a backup as another program would."""
    xml = f"<domainbackup mode='pull'><server transport='unix' socket='{socket}'/></domainbackup>"
    guest.on_domain(lambda domain: domain.backupBegin(xml, None))


def abort_any(guest: Guest) -> None:
    """Ends whatever job runs on the guest."""
    guest.on_domain(lambda domain: domain.abortJob())


def hang_agent(guest: Guest, seconds: int) -> None:
    """Has the guest agent stopped by SIGSTOP for so long, beginning when this returns."""
    said = len(guest.serial())
    with suppress(libvirt.libvirtError):  # the answer may come too late to be given
        guest.agent("guest-exec", timeout=1, path="/bin/sh", arg=["-c", _hanging(seconds)])
    guest.line("LAB agent stopped", 10, after=said)


def hang_agent_soon(guest: Guest, seconds: int, after: float) -> None:
    """As hang_agent, but beginning only so many seconds after this returns."""
    guest.agent("guest-exec", path="/bin/sh", arg=["-c", f"sleep {after}; {_hanging(seconds)}"])


def _hanging(seconds: int) -> str:
    stop = "pid=$(pidof qemu-ga); kill -STOP $pid; echo LAB agent stopped >/dev/console"
    return f"{stop}; sleep {seconds}; kill -CONT $pid; echo LAB agent continues >/dev/console"


def plain_copy(socket: Path, target: Path) -> Path:
    """What the backup serves, as a raw file."""
    tool("qemu-img", "convert", "-f", "raw", "-O", "raw", f"nbd+unix:///vda?socket={socket}", target, timeout=120)
    return target


def proportional_mib(pid: int) -> float:
    """Memory of a process; of pages that it shares, its share."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(rollup.split("Pss:")[1].split()[0]) / 1024


def fill(guest: Guest, mib: int) -> None:
    """Writes a file of so many MiB in the guest, to be overwritten."""
    guest.execute(f"dd if=/dev/urandom of=/mnt/filler bs=64k count={mib * 16} conv=fsync", 60)


def begin_overwriting(guest: Guest, mib: int) -> None:
    """Has the guest overwrite that file; does not wait for it."""
    script = f"dd if=/dev/zero of=/mnt/filler bs=64k count={mib * 16} conv=notrunc,fsync"
    guest.agent("guest-exec", path="/bin/sh", arg=["-c", script])
