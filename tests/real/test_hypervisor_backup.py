from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lab import blocks, disks
from lab.factory import Guests
from lab.libvirtd import PrivateLibvirtd
from lab.tools import succeeds
from lab.wait import until
from stillframe.errors.capture import ForeignJob, HypervisorFailed, InstanceGone
from stillframe.hypervisor import backup, guestagent, jobevents, power
from stillframe.hypervisor.backup import BackupDisk
from stillframe.hypervisor.connection import Connection
from stillframe.model import PowerState
from tests.real.hypervisor_tools import (
    MIB,
    abort_any,
    begin,
    begin_of,
    begin_overwriting,
    connected,
    fill,
    foreign_backup,
    plain_copy,
    scratch,
    small_filesystem,
)

SLOTS = 512


@pytest.fixture
def connection(libvirtd: PrivateLibvirtd) -> Iterator[Connection]:
    with connected(libvirtd.uri) as opened:
        yield opened


def test_what_is_served_is_the_disk_at_one_instant_while_the_guest_writes_on(
    connection: Connection, guests: Guests, tmp: Path
) -> None:
    guest = guests.writing(disks.chain(tmp / "a.qcow2", 64 * MIB, blocks.autorun(slots=SLOTS)))
    assert backup.running_job(connection, guest.id) is None
    assert backup.backup_socket(connection, guest.id) is None

    guestagent.freeze(connection, guest.id, 5)
    socket = begin(connection, guest, tmp)
    guestagent.thaw(connection, guest.id, 5)
    before = blocks.reports(guest.serial())[-1].last
    until(lambda: blocks.reports(guest.serial())[-1].last > before + SLOTS, 60, "the guest to overwrite it all")
    first, again = plain_copy(socket, tmp / "first"), plain_copy(socket, tmp / "again")

    assert blocks.clean(first)
    assert blocks.written(first, slots=SLOTS).last < blocks.reports(guest.serial())[-1].last
    assert succeeds(["cmp", first, again])
    assert backup.backup_socket(connection, guest.id) == socket
    assert backup.running_job(connection, guest.id) == "backup"
    backup.abort(connection, guest.id, socket, 30)
    assert backup.running_job(connection, guest.id) is None
    backup.abort(connection, guest.id, socket, 30)
    assert blocks.complaints(guest.serial()) == []


def test_several_disks_are_served_and_the_others_left_alone(connection: Connection, guests: Guests, tmp: Path) -> None:
    vda, vdb, vdc = (disks.raw(tmp / f"{letter}.raw", 16 * MIB) for letter in "abc")
    guest = guests.define(vda, replace(vdb, target="vdb"), replace(vdc, target="vdc")).start()
    guest.suspend()
    wanted = [BackupDisk("vda", "one", tmp / "s1"), BackupDisk("vdc", "two", tmp / "s2")]
    for disk in wanted:
        scratch(disk.scratch, 16 * MIB)
    socket = tmp / "n.sock"
    begin_of(connection, guest, socket, wanted, ["vdb"])
    for export, path in (("one", vda.path), ("two", vdc.path)):
        address = f"nbd+unix:///{export}?socket={socket}"
        assert succeeds(["qemu-img", "compare", "-U", "-f", "raw", "-F", "raw", address, path])
    backup.abort(connection, guest.id, socket, 30)


def test_qemu_tells_when_a_backup_runs_and_of_no_other_job(connection: Connection, guests: Guests, tmp: Path) -> None:
    guest = guests.new(*_two_disks(tmp)).start_transient()
    domain = connection.domain(guest.id)
    told: queue.SimpleQueue[float] = queue.SimpleQueue()
    with jobevents.backups_running(domain, told.put):
        copy = f"<disk type='file'><source file='{tmp}/copy'/><driver type='raw'/></disk>"
        domain.blockCopy("vda", copy)
        domain.blockJobAbort("vda")
        before = time.time()
        begin_of(connection, guest, tmp / "n.sock", _scratches(tmp))
        assert before <= told.get(timeout=5) <= time.time()
    backup.abort(connection, guest.id, tmp / "n.sock", 30)


def test_what_fails_after_the_instant_is_told_as_well(connection: Connection, guests: Guests, tmp: Path) -> None:
    guest = guests.define(*_two_disks(tmp)).start()
    same_export = [replace(disk, export="same") for disk in _scratches(tmp)]
    with (
        pytest.raises(HypervisorFailed, match="same"),
        backup.prepared(connection, guest.id, tmp / "n.sock", same_export) as job,
    ):
        job.begin()
    assert backup.running_job(connection, guest.id) is None


def _two_disks(tmp: Path) -> list[disks.GuestDisk]:
    return [replace(disks.raw(tmp / f"{target}.raw", 16 * MIB), target=target) for target in ("vda", "vdb")]


def _scratches(tmp: Path) -> list[BackupDisk]:
    return [BackupDisk(target, target, scratch(tmp / f"{target}.scratch", 16 * MIB)) for target in ("vda", "vdb")]


def test_a_backup_of_someone_else_is_named_at_once_and_never_aborted(
    connection: Connection, guests: Guests, tmp: Path
) -> None:
    guest = guests.define(disks.raw(tmp / "a.raw", 32 * MIB)).start()
    theirs = tmp / "theirs.sock"
    foreign_backup(guest, theirs)
    before = time.monotonic()
    with pytest.raises(ForeignJob, match="backup"):
        begin(connection, guest, tmp, size=32 * MIB)
    assert time.monotonic() - before < 3
    backup.abort(connection, guest.id, tmp / "ours.sock", 5)
    assert backup.backup_socket(connection, guest.id) == theirs
    abort_any(guest)


def test_a_block_job_of_someone_else_is_named(connection: Connection, guests: Guests, tmp: Path) -> None:
    guest = guests.new(disks.raw(tmp / "a.raw", 32 * MIB)).start_transient()
    copy = f"<disk type='file'><source file='{tmp}/copy'/><driver type='raw'/></disk>"
    guest.on_domain(lambda domain: domain.blockCopy("vda", copy))
    assert backup.running_job(connection, guest.id) == "block copy of vda"
    guest.on_domain(lambda domain: domain.blockJobAbort("vda"))


def test_the_job_outlives_libvirtd_and_can_be_aborted_then(tmp: Path) -> None:
    with PrivateLibvirtd(tmp / "h") as host, connected(host.uri) as connection:
        made = Guests(host, tmp)
        guest = made.define(disks.raw(tmp / "a.raw", 32 * MIB)).start()
        run = power.run(connection, guest.id)
        socket = begin(connection, guest, tmp, size=32 * MIB)
        host.kill()
        assert plain_copy(socket, tmp / "copy").stat().st_size == 32 * MIB
        until(lambda: not connection.alive, 10, "the loss to be noticed")
        host.start()
        until(lambda: connection.alive, 20, "the connection to come back")
        assert power.run(connection, guest.id) == run
        assert backup.backup_socket(connection, guest.id) == socket
        backup.abort(connection, guest.id, socket, 30)
        assert backup.backup_socket(connection, guest.id) is None
        made.remove()


def test_a_stopped_domain_has_nothing_to_abort(connection: Connection, guests: Guests, tmp: Path) -> None:
    guest = guests.define(disks.raw(tmp / "a.raw", 32 * MIB)).start()
    socket = begin(connection, guest, tmp, size=32 * MIB)
    guest.destroy()
    backup.abort(connection, guest.id, socket, 5)
    with pytest.raises(InstanceGone, match="stopped"):
        begin(connection, guest, tmp, "again", 32 * MIB)
    guest.remove()
    backup.abort(connection, guest.id, socket, 5)


def test_a_guest_that_ran_out_of_scratch_goes_on_without_loss(tmp: Path) -> None:
    with (
        small_filesystem(tmp / "small", 2 * MIB) as small,
        PrivateLibvirtd(tmp / "h") as host,
        connected(host.uri) as connection,
    ):
        made = Guests(host, tmp)
        guest = made.writing(disks.raw(tmp / "a.raw", 64 * MIB, blocks.autorun(slots=64)))
        run = power.run(connection, guest.id)
        fill(guest, 6)
        socket = begin(connection, guest, small)
        begin_overwriting(guest, 6)
        until(
            lambda: power.state(connection, guest.id) == (PowerState.PAUSED, power.IO_ERROR),
            90,
            "scratch to run full",
        )
        backup.abort(connection, guest.id, socket, 30)
        assert not power.resume_after_io_error(connection, guest.id, "another run")
        assert power.resume_after_io_error(connection, guest.id, str(run))
        before = len(blocks.reports(guest.serial()))
        until(lambda: len(blocks.reports(guest.serial())) > before + 1, 30, "the writer to go on")
        assert blocks.complaints(guest.serial()) == []
        made.remove()
