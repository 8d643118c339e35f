"""The lab itself: a guest boots and writes, and the checks that other tests rely on can fail."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import blocks, disks
from lab.disks import GuestDisk
from lab.factory import Guests
from lab.filesystems import mounted
from lab.guest import GuestSystem
from lab.leaks import leaks
from lab.libvirtd import PrivateLibvirtd
from lab.tools import ROOT
from lab.wait import NotInTime, until

MIB = 1 << 20
SLOTS = 512


def test_a_guest_writes_blocks_that_its_disk_holds_without_a_gap(guests: Guests, tmp: Path) -> None:
    disk = disks.raw(tmp / "a.raw", 64 * MIB, blocks.autorun(slots=SLOTS))
    guest = guests.writing(disk)
    until(lambda: blocks.reports(guest.serial())[-1].last > SLOTS, 60, "the writer to go round once")

    guest.agent("guest-fsfreeze-freeze")
    copy = disks.plain(disk, tmp / "copy.raw")
    guest.agent("guest-fsfreeze-thaw")

    found = blocks.written(copy, slots=SLOTS)
    assert found.last > SLOTS
    assert blocks.clean(copy)
    assert blocks.complaints(guest.serial()) == []


def test_an_unfrozen_disk_is_not_clean_but_holds_every_acknowledged_block(guests: Guests, tmp: Path) -> None:
    disk = disks.raw(tmp / "a.raw", 64 * MIB, blocks.autorun(slots=SLOTS))
    guest = guests.writing(disk)
    guest.destroy()

    acknowledged = blocks.reports(guest.serial())[-1].last
    assert blocks.written(disk.path, slots=SLOTS).last >= acknowledged
    assert not blocks.clean(disk.path)


@pytest.mark.parametrize("slots", [5, 8])
def test_the_check_sees_a_lost_block_and_blocks_of_two_instants(slots: int) -> None:
    def file(numbers: list[int]) -> bytes:
        return b"".join(blocks.block(number) if number else bytes(blocks.BLOCK) for number in numbers)

    assert blocks.prefix(file([]), slots).last == 0
    assert blocks.prefix(file([1, 2, 3]), slots).last == 3
    assert blocks.prefix(file([slots + 1, slots + 2, *range(3, slots + 1)]), slots).last == slots + 2
    torn = bytearray(file([slots + 1, *range(2, slots + 1)]))
    torn[blocks.BLOCK + 100] ^= 1
    assert blocks.prefix(bytes(torn), slots).last == slots + 1
    for wrong in ([1, 0, 3], [0, 2, 3], [1, 3, 3], [1, slots + 2, *range(3, slots + 1)]):
        with pytest.raises(blocks.Torn):
            blocks.prefix(file(wrong), slots)


@pytest.mark.parametrize("make", [disks.qcow2, disks.chain], ids=["qcow2", "three layers"])
def test_guests_write_to_every_kind_of_file(
    make: Callable[[Path, int, dict[str, str]], GuestDisk], guests: Guests, tmp: Path
) -> None:
    disk = make(tmp / "a.qcow2", 64 * MIB, blocks.autorun(slots=SLOTS))
    guests.writing(disk).destroy()
    copy = disks.plain(disk, tmp / "copy.raw")
    assert blocks.written(copy, slots=SLOTS).last > 0
    assert disks.same(disk, GuestDisk(copy, "raw"))


def test_guests_write_to_a_block_device(guests: Guests, tmp: Path) -> None:
    disk = disks.raw(tmp / "a.raw", 64 * MIB, blocks.autorun(slots=SLOTS))
    with disks.loop(disk) as device:
        guest = guests.writing(device)
        guest.remove()
    assert blocks.written(disk.path, slots=SLOTS).last > 0


def test_a_disk_boots_by_itself(guests: Guests, guest_files: GuestSystem, tmp: Path) -> None:
    files = {"MARKER": "from my own disk\n"}
    disk = disks.bootable(tmp / "boot.raw", 96 * MIB, guest_files, files)
    guest = guests.boot(disk, disk_boot=True)
    assert "LAB marker from my own disk" in guest.serial()


def test_guests_survive_the_death_of_their_libvirtd_and_end_with_the_lab(tmp: Path) -> None:
    with PrivateLibvirtd(tmp / "h") as host:
        made = Guests(host, tmp)
        guest = made.boot(agent=False)
        host.kill()
        host.start()
        assert guest.running
        assert leaks(tmp)
    assert not leaks(tmp)


def test_everything_ends_when_the_one_who_started_it_is_killed(tmp: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from lab.factory import Guests
from lab.libvirtd import PrivateLibvirtd
host = PrivateLibvirtd(Path({str(tmp / "h")!r}))
host.start()
Guests(host, Path({str(tmp)!r})).define(agent=False).start()
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert list(tmp.glob("*.serial"))
    until(lambda: not leaks(tmp), 10, "the end of libvirtd and the guest")


def test_qemu_runs_as_another_user_who_is_given_the_disks(tmp: Path) -> None:
    with PrivateLibvirtd(tmp / "h", user="libvirt-qemu") as host:
        disk = disks.raw(tmp / "a.raw", 64 * MIB)
        guest = Guests(host, tmp).boot(disk)
        assert disk.path.owner() == "libvirt-qemu"
        guest.remove()
        assert disk.path.owner() == "root"


def test_leaks_are_seen(tmp: Path) -> None:
    with subprocess.Popen(["sleep", "60"], cwd=tmp) as process:
        assert leaks(tmp) == []
        process.kill()
    sleeper = subprocess.Popen(["tail", "-f", "/dev/null"], stdout=(tmp / "file").open("w"))
    assert len(leaks(tmp)) == 1
    sleeper.kill()
    sleeper.wait()


def test_waiting_ends_and_says_for_what() -> None:
    with pytest.raises(NotInTime, match="the impossible"):
        until(lambda: False, 0.05, "the impossible")


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_filesystems_made_later_are_there_for_guests_too(
    kind: str, guests: Guests, libvirtd: PrivateLibvirtd, tmp: Path
) -> None:
    with mounted(kind, tmp / "fs", 320 * MIB, libvirtd) as where:
        disk = disks.raw(where / "a.raw", 64 * MIB)
        guest = guests.boot(disk, agent=False)
        assert "LAB mounted /dev/vda" in guest.serial()
        guest.remove()
        assert any("mount" in leak for leak in leaks(tmp))


def test_a_new_libvirtd_does_not_hold_on_to_what_others_have_mounted(tmp: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="sft-") as other:
        where = Path(other) / "fs"
        with mounted("ext4", where, 8 * MIB), PrivateLibvirtd(tmp / "h") as host:
            assert str(where) in Path("/proc/self/mounts").read_text()
            assert str(where) not in host.run_inside("cat", "/proc/self/mounts")
        assert leaks(Path(other)) == []


def test_a_hung_agent_does_not_answer_and_comes_back(guests: Guests, tmp: Path) -> None:
    guest = guests.boot(disks.raw(tmp / "a.raw", 64 * MIB))
    guest.hang_agent(2)
    guest.wait_for_agent(30)
