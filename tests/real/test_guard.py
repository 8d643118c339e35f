from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import blocks, disks
from lab.domains import Guest
from lab.factory import Guests
from lab.libvirtd import PrivateLibvirtd
from lab.wait import until
from stillframe.agent import guardwire
from stillframe.agent.guardlink import Arm, ArmKind, GuardLink
from stillframe.errors.service import GuardUnavailable
from stillframe.hypervisor import backup, guestagent, power
from stillframe.hypervisor.connection import Connection
from tests.real.hypervisor_tools import (
    MIB,
    begin,
    begin_overwriting,
    connected,
    fill,
    hang_agent,
    proportional_mib,
    small_filesystem,
)

GRACE, SILENCE = 3.0, 2.0
AGENT = Path(__file__).with_name("guarded_agent.py")


@pytest.fixture
def connection(libvirtd: PrivateLibvirtd) -> Iterator[Connection]:
    with connected(libvirtd.uri) as opened:
        yield opened


class Agents:
    """Agents of one state directory, each a process that can be killed."""

    def __init__(self, state_dir: Path, uri: str) -> None:
        state_dir.mkdir()
        self.state_dir, self.uri = state_dir, uri
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, *arms: Arm) -> int:
        """Starts an agent that arms these; the process id of its guard."""
        words = [json.dumps([guardwire.arm_to_json(arm) for arm in arms]), str(self.state_dir), self.uri]
        words += [str(GRACE), str(SILENCE)]
        process = subprocess.Popen(
            [sys.executable, AGENT, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=self.state_dir
        )
        self._running.append(process)
        assert process.stdout is not None
        return int(process.stdout.readline())

    def signal(self, number: signal.Signals) -> None:
        """A signal to each of them."""
        for process in self._running:
            process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL for all of them."""
        while self._running:
            process = self._running.pop()
            process.kill()
            process.communicate(timeout=10)

    def guard_ends(self, pid: int) -> None:
        """Waits for the guard's end."""
        until(lambda: not _lives(pid), 30, f"the end of the guard, process {pid}; its log:\n{self.log()}")

    def log(self) -> str:
        """The guard's log."""
        return guardwire.log_path(self.state_dir).read_text()


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def agents(libvirtd: PrivateLibvirtd, tmp: Path) -> Iterator[Agents]:
    made = Agents(tmp / "state", libvirtd.uri)
    yield made
    made.kill()


@pytest.fixture
def link(libvirtd: PrivateLibvirtd, tmp: Path) -> Iterator[GuardLink]:
    (tmp / "linked").mkdir()
    made = GuardLink(tmp / "linked", libvirtd.uri, GRACE)
    made.start()
    yield made
    made.close()


def an_arm(connection: Connection, guest: Guest, kind: ArmKind, seconds: float | None = None) -> Arm:
    return Arm(f"{kind}-1", kind, guest.id, str(power.run(connection, guest.id)), seconds)


def abort_arm(
    connection: Connection, guest: Guest, socket: Path, scratch: tuple[Path, ...] = (), cap: int = 0, reserve: int = 0
) -> Arm:
    files = tuple(map(str, scratch))
    run = str(power.run(connection, guest.id))
    return Arm("abort-1", ArmKind.ABORT, guest.id, run, None, str(socket), files, cap, reserve)


def test_a_frozen_guest_is_thawed_as_soon_as_the_agent_is_killed(
    connection: Connection, guests: Guests, agents: Agents, tmp: Path
) -> None:
    guest = guests.boot(disks.raw(tmp / "a.raw", 32 * MIB))
    guard = agents.start(an_arm(connection, guest, ArmKind.THAW, 60))
    guestagent.freeze(connection, guest.id, 5)
    assert os.getsid(guard) == guard
    assert proportional_mib(guard) < 40
    for path in (guardwire.socket_path(agents.state_dir), guardwire.log_path(agents.state_dir)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    agents.kill()
    until(lambda: not guestagent.frozen(connection, guest.id, 5), 5, "the thaw")
    agents.guard_ends(guard)
    assert "the agent is gone" in agents.log()
    assert not guardwire.socket_path(agents.state_dir).exists()


def test_a_suspended_guest_goes_on_as_soon_as_the_agent_is_killed(
    connection: Connection, guests: Guests, agents: Agents, tmp: Path
) -> None:
    guest = guests.define(disks.raw(tmp / "a.raw", 32 * MIB)).start()
    guard = agents.start(an_arm(connection, guest, ArmKind.RESUME))
    power.suspend(connection, guest.id)
    agents.kill()
    until(lambda: guest.running, 5, "the guest to go on")
    agents.guard_ends(guard)


def test_an_agent_that_stands_still_is_as_good_as_dead_until_it_goes_on(
    connection: Connection, guests: Guests, agents: Agents, tmp: Path
) -> None:
    guest = guests.define(disks.raw(tmp / "a.raw", 32 * MIB)).start()
    agents.start(an_arm(connection, guest, ArmKind.RESUME))
    power.suspend(connection, guest.id)
    agents.signal(signal.SIGSTOP)
    until(lambda: guest.running, SILENCE + 3, "the guest to go on")
    assert f"said nothing for {SILENCE:g} seconds" in agents.log()

    agents.signal(signal.SIGCONT)
    link = GuardLink(agents.state_dir, agents.uri, GRACE, SILENCE)
    link.start()
    link.arm(an_arm(connection, guest, ArmKind.RESUME))
    armed = time.monotonic()
    until(lambda: time.monotonic() - armed > SILENCE + 1, SILENCE + 3, "more than the silence to pass")
    assert link.disarm("resume-1")
    link.close()


def test_a_backup_is_kept_for_the_grace_and_then_aborted(
    connection: Connection, guests: Guests, agents: Agents, tmp: Path
) -> None:
    # booted: while its agent's channel opens, libvirt holds up the abort for half a minute
    guest = guests.boot(disks.raw(tmp / "a.raw", 32 * MIB))
    socket = begin(connection, guest, tmp, size=32 * MIB)
    guard = agents.start(abort_arm(connection, guest, socket))
    agents.kill()
    killed = time.monotonic()
    until(lambda: backup.backup_socket(connection, guest.id) is None, 20, "the abort")
    assert time.monotonic() - killed > GRACE - 0.1
    agents.guard_ends(guard)


@pytest.mark.faults
def test_a_new_agent_adopts_the_guard_and_the_backup_goes_on(
    connection: Connection, guests: Guests, agents: Agents, tmp: Path
) -> None:
    guest = guests.define(disks.raw(tmp / "a.raw", 32 * MIB)).start()
    socket = begin(connection, guest, tmp, size=32 * MIB)
    arm = abort_arm(connection, guest, socket)
    guard = agents.start(arm)
    agents.kill()
    link = GuardLink(agents.state_dir, agents.uri, GRACE)
    link.start()
    adopted = time.monotonic()
    assert link.pid == guard
    assert link.armed() == (arm,)
    until(lambda: time.monotonic() - adopted > GRACE + 1, 20, "the grace to be over", pause=0.2)
    assert backup.backup_socket(connection, guest.id) == socket
    assert link.disarm(arm.key)
    link.close()
    agents.guard_ends(guard)
    assert backup.backup_socket(connection, guest.id) == socket
    backup.abort(connection, guest.id, socket, 30)


def test_a_freeze_that_lasts_too_long_is_thawed_though_the_agent_lives(
    connection: Connection, guests: Guests, link: GuardLink, tmp: Path
) -> None:
    guest = guests.boot(disks.raw(tmp / "a.raw", 32 * MIB))
    arm = an_arm(connection, guest, ArmKind.THAW, 1)
    link.arm(arm)
    guestagent.freeze(connection, guest.id, 5)
    until(lambda: not guestagent.frozen(connection, guest.id, 5), 10, "the thaw")
    assert link.acted(arm.key) == "its 1 seconds are over"
    assert not link.disarm(arm.key)


@pytest.mark.faults
def test_a_hung_guest_agent_is_asked_until_it_thaws(
    connection: Connection, guests: Guests, agents: Agents, tmp: Path
) -> None:
    guest = guests.boot(disks.raw(tmp / "a.raw", 32 * MIB))
    guard = agents.start(an_arm(connection, guest, ArmKind.THAW))
    hang_agent(guest, 7)
    agents.kill()
    guest.line("LAB agent continues", 30)
    agents.guard_ends(guard)
    assert "not given back yet" in agents.log()
    assert not guestagent.frozen(connection, guest.id, 5)


def test_what_is_disarmed_or_of_another_run_is_left_alone(
    connection: Connection, guests: Guests, link: GuardLink, tmp: Path
) -> None:
    guest = guests.define(disks.raw(tmp / "a.raw", 32 * MIB)).start()
    power.suspend(connection, guest.id)
    link.arm(an_arm(connection, guest, ArmKind.RESUME, 0.5))
    assert link.disarm("resume-1")
    assert not link.disarm("resume-1")
    link.arm(Arm("resume-2", ArmKind.RESUME, guest.id, "another run", 0.1))
    until(lambda: not link.armed(), 10, "the guard to be done")
    assert link.acted("resume-1") is None
    assert not guest.running


def test_too_much_scratch_ends_the_backup_though_the_agent_lives(
    connection: Connection, guests: Guests, link: GuardLink, tmp: Path
) -> None:
    guest = guests.boot(disks.raw(tmp / "a.raw", 64 * MIB))
    fill(guest, 6)
    socket = tmp / "b.sock"
    link.arm(abort_arm(connection, guest, socket, (tmp / "b.scratch",), cap=2 * MIB))
    begin(connection, guest, tmp)
    begin_overwriting(guest, 6)
    until(lambda: link.acted("abort-1"), 60, "the scratch to be used up")
    until(lambda: backup.backup_socket(connection, guest.id) is None, 20, "the abort")
    assert "2097152 allowed" in str(link.acted("abort-1"))
    assert guest.running


def test_a_guest_that_ran_out_of_scratch_goes_on_by_the_guard_alone(tmp: Path) -> None:
    with (
        small_filesystem(tmp / "small", 2 * MIB) as small,
        PrivateLibvirtd(tmp / "h") as host,
        connected(host.uri) as connection,
    ):
        made, agents = Guests(host, tmp), Agents(tmp / "state", host.uri)
        guest = made.writing(disks.raw(tmp / "a.raw", 64 * MIB, blocks.autorun(slots=64)))
        fill(guest, 6)
        guard = agents.start(abort_arm(connection, guest, small / "b.sock"))
        begin(connection, guest, small)
        begin_overwriting(guest, 6)
        until(lambda: "libvirt paused the guest" in agents.log(), 90, "the scratch to be used up")
        until(lambda: guest.running, 20, "the guest to go on")
        before = len(blocks.reports(guest.serial()))
        until(lambda: len(blocks.reports(guest.serial())) > before + 1, 30, "the writer to go on")
        assert blocks.complaints(guest.serial()) == []
        agents.kill()
        agents.guard_ends(guard)
        made.remove()


def test_a_guard_that_is_killed_is_replaced_and_the_new_one_is_armed(
    connection: Connection, guests: Guests, link: GuardLink, tmp: Path
) -> None:
    guest = guests.define(disks.raw(tmp / "a.raw", 32 * MIB)).start()
    arm = an_arm(connection, guest, ArmKind.RESUME, 3600)
    link.arm(arm)
    first = link.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(lambda: link.pid not in (None, first), 20, "the new guard")
    (armed,) = link.armed()
    assert armed.key == arm.key
    assert 3590 < (armed.seconds or 0) < 3600
    assert link.disarm(arm.key)


def test_arming_finds_a_new_guard_when_the_old_one_died_just_before(
    connection: Connection, guests: Guests, link: GuardLink, tmp: Path
) -> None:
    guest = guests.define(disks.raw(tmp / "a.raw", 32 * MIB)).start()
    first = link.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    link.arm(an_arm(connection, guest, ArmKind.RESUME))
    assert link.pid != first
    assert link.disarm("resume-1")


def test_a_guard_that_cannot_start_is_told_at_once_with_its_log(libvirtd: PrivateLibvirtd, tmp: Path) -> None:
    (tmp / "state").mkdir()
    guardwire.lock_path(tmp / "state").mkdir()
    link = GuardLink(tmp / "state", libvirtd.uri, GRACE)
    before = time.monotonic()
    with pytest.raises(GuardUnavailable, match=r"guard\.log"):
        link.start()
    assert time.monotonic() - before < 10
    assert "IsADirectoryError" in guardwire.log_path(tmp / "state").read_text()


def test_the_guard_waits_for_libvirtd_to_come_back(tmp: Path) -> None:
    with PrivateLibvirtd(tmp / "h") as host, connected(host.uri) as connection:
        made, agents = Guests(host, tmp), Agents(tmp / "state", host.uri)
        guest = made.define(disks.raw(tmp / "a.raw", 32 * MIB)).start()
        power.suspend(connection, guest.id)
        guard = agents.start(an_arm(connection, guest, ArmKind.RESUME))
        host.kill()
        agents.kill()
        until(lambda: "not given back yet" in agents.log(), 20, "the first try")
        host.start()
        until(lambda: guest.running, 20, "the guest to go on")
        agents.guard_ends(guard)
        made.remove()


def test_the_guard_ends_when_qemu_is_gone_though_libvirtd_never_comes_back(tmp: Path) -> None:
    with PrivateLibvirtd(tmp / "h") as host, connected(host.uri) as connection:
        guest = Guests(host, tmp).define(disks.raw(tmp / "a.raw", 32 * MIB)).start()
        agents = Agents(tmp / "state", host.uri)
        guard = agents.start(abort_arm(connection, guest, tmp / "b.sock"), an_arm(connection, guest, ArmKind.RESUME))
    agents.kill()
    killed = time.monotonic()
    agents.guard_ends(guard)
    assert time.monotonic() - killed < GRACE


def test_a_guard_that_is_asked_to_end_gives_back_first(
    connection: Connection, guests: Guests, agents: Agents, tmp: Path
) -> None:
    guest = guests.define(disks.raw(tmp / "a.raw", 32 * MIB)).start()
    socket = begin(connection, guest, tmp, size=32 * MIB)
    guard = agents.start(abort_arm(connection, guest, socket))
    os.kill(guard, signal.SIGTERM)
    killed = time.monotonic()
    agents.kill()
    agents.guard_ends(guard)
    assert time.monotonic() - killed < GRACE
    assert backup.backup_socket(connection, guest.id) is None
