"""Room for scratch and images, and jobs of others: a guest loses nothing, whatever runs out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import libvirt
import pytest

from lab import blocks, captures, disks, filesystems
from lab.disks import GuestDisk
from lab.domains import Guest
from lab.factory import Guests
from lab.libvirtd import UNPRIVILEGED, PrivateLibvirtd
from lab.service import Service
from lab.tools import tool
from lab.wait import until
from tests.real.capture_checks import HELD_BACK, MIB, SIZE, ballast, plain, sound
from tests.real.conftest import StartService
from tests.real.hypervisor_tools import abort_any, foreign_backup

SLOTS = 4096
MOMENT = 3.0  # seconds; some hundredths on an idle machine


@contextmanager
def small(name: str, size: int, tmp: Path, host: PrivateLibvirtd, guests: Guests) -> Iterator[Path]:
    """A filesystem with little room; the guests are gone at the end."""
    with filesystems.mounted("ext4", tmp / name, size, host) as place:
        try:
            yield place
        finally:
            guests.remove()


def writer(path: Path) -> GuestDisk:
    """A raw disk whose guest overwrites 16 MiB of it again and again, with something else to copy."""
    return disks.raw(path, SIZE, {**blocks.autorun(slots=SLOTS), **ballast()})


def unharmed(guest: Guest, since: int) -> None:
    """The guest runs and writes, lost nothing, and no write since that report took longer than a moment."""
    until(lambda: guest.running, 15, "the guest to run")
    said = len(blocks.reports(guest.serial()))
    until(lambda: len(blocks.reports(guest.serial())) > said + 1, 30, "the guest to go on writing")
    assert blocks.complaints(guest.serial()) == []
    assert max(report.longest for report in blocks.reports(guest.serial())[since:]) < MOMENT


def test_scratch_that_reaches_its_cap_ends_the_capture_and_not_the_guest(
    guests: Guests, start_service: StartService, tmp: Path
) -> None:
    service = start_service({"capture": {"scratch_cap": MIB}})
    guest = guests.writing(writer(tmp / "disk"))
    since = len(blocks.reports(guest.serial()))
    shown = captures.failed(service, captures.begin(service, guest, bandwidth=HELD_BACK // 4), "scratch-full")
    assert f"of {MIB} bytes used" in shown["fault"]["message"]
    assert str(tmp) not in captures.told(shown)
    unharmed(guest, since)
    assert captures.published(service) == []
    assert captures.left_behind(service, guest) == []


def test_a_full_scratch_filesystem_costs_the_guest_a_moment_only(
    libvirtd: PrivateLibvirtd, guests: Guests, start_service: StartService, tmp: Path
) -> None:
    with small("scratch", 16 * MIB, tmp, libvirtd, guests) as place:
        service = start_service({"capture": {"scratch_dir": place, "scratch_reserve": 0}})
        guest = guests.writing(writer(tmp / "disk"))
        since = len(blocks.reports(guest.serial()))
        capture = captures.begin(service, guest, bandwidth=HELD_BACK // 4)
        captures.moving(service, capture)
        _fill(place)
        shown = captures.failed(service, capture, "scratch-failed")
        assert str(tmp) not in captures.told(shown)
        unharmed(guest, since)
        assert captures.published(service) == []
        assert captures.left_behind(service, guest) == ["scratch filler"]


def _fill(place: Path) -> None:
    """Takes all that is left on a filesystem."""
    with (place / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


@pytest.mark.faults
def test_a_guest_that_its_own_disk_has_stopped_stays_so(
    libvirtd: PrivateLibvirtd, guests: Guests, service: Service, tmp: Path
) -> None:
    with small("own", 16 * MIB, tmp, libvirtd, guests) as place:
        disk = disks.raw(place / "disk", SIZE, blocks.autorun(slots=8192))
        guest = guests.boot(disk, agent=False)
        out_of_room = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR)
        until(lambda: guest.state == out_of_room, 60, "the guest to fill its filesystem")
        shown = captures.capture(service, guest)
        assert (shown["source"], shown["consistency"]) == ("backup", "crash")
        assert guest.state == out_of_room
        assert captures.left_behind(service, guest) == []
        guest.destroy()
        assert disks.same(captures.image(service, shown, disk), disk)


def test_an_operator_may_end_the_backup_job(guests: Guests, service: Service, tmp: Path) -> None:
    guest = guests.boot(disks.raw(tmp / "disk", SIZE, ballast()))
    capture = captures.begin(service, guest, bandwidth=HELD_BACK)
    captures.moving(service, capture)
    abort_any(guest)
    shown = captures.failed(service, capture, "instant-lost")
    assert "someone else ended the backup job" in shown["fault"]["message"]
    assert captures.left_behind(service, guest) == []


def test_a_disk_that_reports_errors_is_taken_only_with_all_its_scratch_reserved(
    libvirtd: PrivateLibvirtd, guests: Guests, start_service: StartService, tmp: Path
) -> None:
    with small("scratch", 24 * MIB, tmp, libvirtd, guests) as place:
        service = start_service({"capture": {"scratch_dir": place, "scratch_reserve": MIB}})
        large = replace(disks.raw(tmp / "large", SIZE, ballast(32)), error_policy="report")
        little = replace(disks.qcow2(tmp / "little", SIZE, ballast(8)), error_policy="report", target="vdb")
        guest = guests.boot(large, little)
        shown = captures.failed(service, captures.begin(service, guest), "scratch-unsafe")
        assert "error_policy 'report'" in shown["fault"]["message"]
        assert [step["name"] for step in shown["steps"]] == ["plan", "prepare"]
        assert str(tmp) not in captures.told(shown)
        assert captures.left_behind(service, guest) == []

        capture = captures.begin(service, guest, disks=["vdb"], bandwidth=HELD_BACK)
        captures.reached(service, capture, "transferring")
        [scratch] = [path for path in place.iterdir() if path.name.endswith(".scratch")]
        assert scratch.stat().st_blocks * 512 >= 8 * MIB > scratch.stat().st_size
        image = captures.image(service, captures.completed(service, capture), little)
        guest.destroy()
        assert disks.same(image, little)
        assert captures.left_behind(service, guest) == []


def test_images_and_scratch_share_one_filesystem(
    libvirtd: PrivateLibvirtd, guests: Guests, start_service: StartService, tmp: Path
) -> None:
    with small("shared", 56 * MIB, tmp, libvirtd, guests) as place:
        room = {"scratch_dir": place / "scratch", "scratch_reserve": MIB}
        service = start_service({"capture": room, "images": {"directory": place / "images"}})
        disk = disks.raw(tmp / "disk", SIZE, ballast(32))
        guest = guests.boot(disk)
        # There is room for the image, and more than enough for what an idle guest overwrites.
        assert sound(captures.image(service, captures.capture(service, guest, format="qcow2"), disk))
        # For a second image there is not.
        shown = captures.failed(service, captures.begin(service, guest), "no-space")
        assert "The image directory has too little room" in shown["fault"]["message"]
        assert shown["progress"]["bytes_done"] == 0
        assert str(tmp) not in captures.told(shown)
        assert captures.left_behind(service, guest) == []
        assert len(captures.published(service)) == 2
        guest.destroy()
        captures.known(service, guest, "SHUTOFF")
        shown = captures.failed(service, captures.begin(service, guest), "no-space")
        assert captures.left_behind(service, guest) == []


def test_jobs_of_others_are_waited_for_and_never_touched(
    guests: Guests, start_service: StartService, tmp: Path
) -> None:
    service = start_service({"capture": {"job_wait": 3}})
    guest = guests.boot(disks.qcow2(tmp / "disk", SIZE))
    foreign_backup(guest, tmp / "foreign.sock")
    shown = captures.failed(service, captures.begin(service, guest), "foreign-job")
    assert "backup" in shown["fault"]["message"]
    assert "foreign.sock" in guest.on_domain(lambda domain: domain.backupGetXMLDesc(0))
    _gets_through(service, guest, abort_any)

    copy = f"<disk type='file'><source file='{tmp / 'copy'}'/><driver type='raw'/></disk>"
    flags = libvirt.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB
    guest.on_domain(lambda domain: domain.blockCopy("vda", copy, None, flags))
    shown = captures.failed(service, captures.begin(service, guest), "foreign-job")
    assert "block copy of vda" in shown["fault"]["message"]
    assert guest.on_domain(lambda domain: domain.blockJobInfo("vda"))
    _gets_through(service, guest, lambda one: one.on_domain(lambda domain: domain.blockJobAbort("vda")))
    assert captures.left_behind(service, guest) == []


def _gets_through(service: Service, guest: Guest, end: object) -> None:
    """A capture that waits for a job of someone else, which is then ended."""
    assert callable(end)
    capture = captures.begin(service, guest)
    captures.reached(service, capture, "holding")
    end(guest)
    captures.completed(service, capture)


def test_qemu_as_an_unprivileged_user(start_service: StartService, tmp: Path) -> None:
    with PrivateLibvirtd(tmp / "h", user=UNPRIVILEGED) as host:
        guests = Guests(host, tmp)
        service = start_service(host=host)
        disk = disks.chain(tmp / "disk", SIZE, blocks.autorun(slots=512))
        layers = [disk.path, tmp / "disk.middle", tmp / "disk.base"]
        stopped = _owners(layers)
        guest = guests.writing(disk)
        running = _owners(layers)
        assert running != stopped
        shown = captures.capture(service, guest)
        assert (shown["source"], shown["consistency"]) == ("backup", "filesystem")
        raw = plain(captures.image(service, shown, disk), tmp)
        assert blocks.clean(raw)
        blocks.written(raw, slots=512)
        assert _owners(layers) == running
        assert captures.left_behind(service, guest) == []

        guest.destroy()
        captures.known(service, guest, "SHUTOFF")
        ended = _owners(layers)  # libvirt itself gives back the topmost layer only: others may use those below
        assert ended[0] == stopped[0]
        shown = captures.capture(service, guest)
        assert shown["source"] == "offline"
        assert disks.same(captures.image(service, shown, disk), disk)
        assert _owners(layers) == ended
        assert captures.left_behind(service, guest) == []
        guests.remove()
        service.discard()


def _owners(paths: list[Path]) -> list[str]:
    return tool("stat", "--format", "%U:%G %a", *paths).splitlines()
