"""What breaks in the middle of a capture on Ceph: it goes on from its instant, or nothing of it is left in any pool."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import captures
from lab.ceph import CephCluster
from lab.factory import Guests
from lab.libvirtd import PrivateLibvirtd
from lab.wait import until
from stillframe.capture.rbdleases import DOUBT
from tests.real import live_tools as live
from tests.real import rbd_tools as ceph_lab
from tests.real.conftest import StartService
from tests.real.live_tools import MIB, SLOWLY, Writing

patient = pytest.mark.timeout(500)  # what had no answer in time is looked at again for DOUBT seconds

pytestmark = pytest.mark.ceph  # make test-ceph


@pytest.fixture(scope="module")
def shared_writer(ceph: CephCluster, libvirtd: PrivateLibvirtd) -> Iterator[Writing]:
    """One whose disk is on Ceph."""
    with ceph_lab.writing(ceph, libvirtd) as made:
        yield made


def test_killed_while_it_streams_it_goes_on_from_the_same_snapshot(
    writer: Writing, ceph: CephCluster, start_service: StartService, tmp: Path
) -> None:
    service = start_service()
    before = ceph.contents()
    capture = captures.begin(service, writer.guest, bandwidth=SLOWLY)
    reached = captures.moving(service, capture)

    service.kill()
    service.start()

    shown = captures.completed(service, capture)
    assert (shown["source"], shown["captured_at"]) == ("snapshot", reached["captured_at"])
    writer.saved(service, shown, tmp / "plain.raw")
    ceph_lab.tidy(service, ceph, before, writer.guest)


def test_killed_while_it_streams_and_its_snapshot_removed_it_says_so(
    writer: Writing, ceph: CephCluster, start_service: StartService
) -> None:
    service = start_service()
    before = ceph.contents()
    capture = captures.begin(service, writer.guest, bandwidth=SLOWLY)
    captures.moving(service, capture)
    service.kill()
    ceph.rbd("snap", "rm", "--no-progress", f"{writer.disk.path}@stillframe-{capture}")

    service.start()

    live.failed(service, capture, "instant-lost")
    ceph_lab.tidy(service, ceph, before, writer.guest)


def test_killed_while_a_clone_is_made_flat_it_is_made_flat_after_the_next_start(
    writer: Writing, ceph: CephCluster, start_service: StartService, libvirtd: PrivateLibvirtd
) -> None:
    service = start_service(ceph_lab.options(flatten_bandwidth=MIB))
    before = ceph.contents()
    shown = captures.capture(service, writer.guest)
    until(lambda: "%" in str(captures.record(service, shown["id"])["held"]), 30, "the flattening to be seen")

    service.kill()
    assert "parent: " in ceph.rbd("info", f"vms/{shown['id']}")
    service.configure(libvirtd, ceph_lab.LOCATIONS)
    service.start()

    ceph_lab.flat(service, shown["id"])
    assert "parent: " not in ceph.rbd("info", f"vms/{shown['id']}")
    ceph_lab.delete(service, shown["id"])
    ceph_lab.tidy(service, ceph, before, writer.guest)


@pytest.mark.parametrize("mode", ["now", "background"])
def test_cancelled_while_bytes_move_nothing_is_left(
    mode: str, writer: Writing, ceph: CephCluster, start_service: StartService
) -> None:
    """In `background` it is the md5 that moves them."""
    service = start_service(ceph_lab.options(flatten=mode, enable_verify_image_md5sum=mode == "background"))
    before = ceph.contents()
    capture = captures.begin(service, writer.guest, bandwidth=SLOWLY)
    captures.moving(service, capture)

    assert service.request("DELETE", f"/v2.1/captures/{capture}").status == 202

    assert captures.ended(service, capture)["status"] == "cancelled"
    ceph_lab.tidy(service, ceph, before, writer.guest)


# ---------------------------------------------------------------------------------------- clusters that fall silent


@pytest.fixture
def fragile() -> Iterator[CephCluster]:
    """A cluster for one test."""
    directory = Path(tempfile.mkdtemp(prefix="sfc-", dir="/var/tmp"))
    with CephCluster(directory / "c") as cluster:
        yield cluster
    shutil.rmtree(directory)


IMPATIENT = {"images": {"rbd_locations": True}, "ceph": {"timeout": 3}, "capture": {"transfer_stall": 3}}


@patient
def test_an_osd_that_stands_still_ends_the_capture_in_time_and_is_tidied_when_it_goes_on(
    fragile: CephCluster, guests: Guests, start_service: StartService, tmp: Path
) -> None:
    disk = ceph_lab.on_rbd(fragile, tmp)
    guest = guests.define(disk)
    service = start_service({**IMPATIENT, "ceph": {"timeout": 3, "enable_verify_image_md5sum": True}})
    before = fragile.contents()
    capture = captures.begin(service, guest, bandwidth=SLOWLY)
    captures.moving(service, capture)

    fragile.pause("osd")

    shown = live.failed(service, capture, "deadline-exceeded", deadline=150)
    assert shown["held"]
    fragile.go_on("osd")
    ceph_lab.flat(service, capture, deadline=DOUBT + 60)
    ceph_lab.tidy(service, fragile, before)


def test_nothing_is_begun_on_a_full_cluster(
    fragile: CephCluster, guests: Guests, start_service: StartService, tmp: Path
) -> None:
    guest = guests.define(ceph_lab.on_rbd(fragile, tmp))
    service = start_service(IMPATIENT)
    before = fragile.contents()
    fragile.fill()

    shown = live.failed(service, captures.begin(service, guest), "no-way", deadline=20)

    assert "takes no more data" in shown["fault"]["message"]
    assert "pool vms" in shown["fault"]["operator"]
    ceph_lab.tidy(service, fragile, before)


@patient
def test_a_cluster_that_fills_up_ends_the_capture_in_time_and_is_tidied_when_it_has_room(
    fragile: CephCluster, guests: Guests, start_service: StartService, tmp: Path
) -> None:
    """What is written to it waits for room, and nobody is told."""
    guest = guests.define(ceph_lab.on_rbd(fragile, tmp))
    service = start_service({**IMPATIENT, "ceph": {"timeout": 3, "enable_verify_image_md5sum": True}})
    before = fragile.contents()
    capture = captures.begin(service, guest, bandwidth=SLOWLY)
    captures.moving(service, capture)

    fragile.fill()

    shown = live.failed(service, capture, "deadline-exceeded", deadline=150)
    assert shown["held"]
    fragile.make_room()
    ceph_lab.flat(service, capture, deadline=DOUBT + 60)
    ceph_lab.tidy(service, fragile, before)


def test_an_osd_that_is_killed_and_comes_back_costs_time_only(
    fragile: CephCluster, guests: Guests, start_service: StartService, tmp: Path
) -> None:
    disk = ceph_lab.on_rbd(fragile, tmp)
    guest = guests.define(disk)
    service = start_service(ceph_lab.options(enable_verify_image_md5sum=True))
    before = fragile.contents()
    capture = captures.begin(service, guest, bandwidth=SLOWLY)
    captures.moving(service, capture)

    fragile.kill("osd")
    fragile.restart("osd")

    shown = captures.completed(service, capture)
    image = ceph_lab.exported(fragile, ceph_lab.placed(service, shown), tmp)
    assert service.get(f"/image/v2/images/{capture}").body["md5sum"] == ceph_lab.digest(image, "md5")
    ceph_lab.flat(service, capture)
    ceph_lab.delete(service, capture)
    ceph_lab.tidy(service, fragile, before)


def test_a_monitor_that_is_gone_is_told_within_its_deadline(
    fragile: CephCluster, guests: Guests, start_service: StartService, tmp: Path
) -> None:
    guest = guests.define(ceph_lab.on_rbd(fragile, tmp))
    service = start_service(IMPATIENT)
    fragile.kill("mon")

    live.failed(service, captures.begin(service, guest), "ceph-unreachable", deadline=30)

    live.tidy(service)


def test_the_bytes_of_a_deleted_image_go_when_the_cluster_is_back(
    fragile: CephCluster, guests: Guests, start_service: StartService, tmp: Path
) -> None:
    guest = guests.define(ceph_lab.on_rbd(fragile, tmp))
    service = start_service(IMPATIENT)
    before = fragile.contents()
    shown = captures.capture(service, guest)
    ceph_lab.flat(service, shown["id"])
    service.stop()
    fragile.kill("mon")
    service.start()

    ceph_lab.delete(service, shown["id"])

    assert service.get(f"/image/v2/images/{shown['id']}").status == 404
    fragile.restart("mon")
    ceph_lab.tidy(service, fragile, before)
