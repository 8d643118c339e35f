"""A disk on Ceph that cannot be cloned: the same instant takes another way, the guest runs on, the reason is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import blocks, captures, disks
from lab.ceph import CephCluster
from lab.disks import GuestDisk
from lab.factory import Guests
from lab.libvirtd import PrivateLibvirtd
from tests.real import live_tools as live
from tests.real import rbd_tools as ceph_lab
from tests.real.conftest import StartService
from tests.real.live_tools import SIZE, SLOTS, Writing

pytestmark = pytest.mark.ceph  # make test-ceph


@pytest.fixture(scope="module")
def shared_writer(ceph: CephCluster, libvirtd: PrivateLibvirtd) -> Iterator[Writing]:
    """One whose disk is on Ceph."""
    with ceph_lab.writing(ceph, libvirtd) as made:
        yield made


def way(shown: dict[str, Any]) -> tuple[str, str]:
    return shown["source"], shown["transfer"]


def test_a_pool_that_may_not_be_written_to_has_the_snapshot_streamed_and_says_what_is_missing(
    writer: Writing, ceph: CephCluster, start_service: StartService, tmp: Path
) -> None:
    service = start_service(ceph_lab.options(target_pool="images"))
    before = ceph.contents()

    shown = captures.capture(service, writer.guest)

    assert way(shown) == ("snapshot", "directory")
    closed = live.step(shown, "way closed")
    assert closed is not None
    assert "may not" in closed["message"]
    assert "client.nova may not" in closed["operator"]
    assert "in pool images" in closed["operator"]
    assert "ceph auth caps client.nova" in closed["operator"]
    assert "nova" not in captures.told(shown)
    assert len([step for step in shown["steps"] if step["name"] == "instant"]) == 1
    writer.saved(service, shown, tmp / "plain.raw")
    ceph_lab.tidy(service, ceph, before, writer.guest)


@pytest.mark.parametrize(
    ("pool", "said"), [("nowhere", "pool nowhere"), ("images", "images")], ids=["missing", "forbidden"]
)
def test_nothing_is_left_of_a_clone_that_did_not_work_out(
    pool: str, said: str, writer: Writing, ceph: CephCluster, start_service: StartService
) -> None:
    service = start_service(ceph_lab.options(target_pool=pool, flatten="never"))
    before = ceph.contents()

    shown = captures.capture(service, writer.guest)

    assert way(shown) == ("snapshot", "directory")
    assert said in captures.told_operator(shown)
    ceph_lab.tidy(service, ceph, before, writer.guest)  # the snapshot too: it belongs to no image


def test_a_store_without_locations_has_the_snapshot_streamed(
    writer: Writing, ceph: CephCluster, start_service: StartService, tmp: Path
) -> None:
    service = start_service()
    before = ceph.contents()

    shown = captures.capture(service, writer.guest, format="qcow2")

    assert way(shown) == ("snapshot", "directory")
    writer.saved(service, shown, tmp / "plain.raw")
    ceph_lab.tidy(service, ceph, before, writer.guest)


def test_who_may_take_no_snapshot_has_the_live_disk_streamed_by_qemu(
    guests: Guests, ceph: CephCluster, start_service: StartService, tmp: Path
) -> None:
    ceph.make_user("weak", "profile rbd pool=vms")
    before = ceph.contents()
    disk = ceph_lab.on_rbd(ceph, tmp, user="weak")
    guest = guests.writing(disk)
    service = start_service(ceph_lab.LOCATIONS)
    ceph.make_user("weak", "profile rbd-read-only pool=vms")  # QEMU is in already

    shown = captures.capture(service, guest)

    assert way(shown) == ("backup", "directory")
    assert "ceph auth caps client.weak" in captures.told_operator(shown)
    ceph_lab.consistent(disks.plain(captures.image(service, shown, disk), tmp / "plain.raw"), shown)
    ceph.make_user("weak", "profile rbd pool=vms")
    guests.remove()
    ceph_lab.removed(ceph, disk)
    ceph_lab.tidy(service, ceph, before)


def test_a_wrong_key_leaves_the_live_disk_to_qemu(
    guests: Guests, ceph: CephCluster, start_service: StartService, tmp: Path, libvirtd: PrivateLibvirtd
) -> None:
    ceph.make_user("changing", "profile rbd pool=vms")
    disk = ceph_lab.on_rbd(ceph, tmp, user="changing")
    guest = guests.writing(disk)
    service = start_service({"ceph": {"timeout": 3}})
    secret = guest.with_connection(lambda connection: _replace_key(connection, guest.xml))

    shown = captures.capture(service, guest)

    assert way(shown) == ("backup", "directory")
    assert "client.changing, monitors" in captures.told_operator(shown)
    assert secret not in service.log()
    guests.remove()
    ceph_lab.removed(ceph, disk)


def _replace_key(connection: Any, xml: str) -> str:
    """Gives libvirt another key for the guest's disk; the right one, which nobody must say."""
    number = xml.partition("<secret type='ceph' uuid='")[2].partition("'")[0]
    secret = connection.secretLookupByUUIDString(number)
    value: bytes = secret.value(0)
    secret.setValue(value[:12] + bytes(byte ^ 0x55 for byte in value[12:]))
    return value.hex()


def test_no_key_is_in_a_log_a_journal_or_a_record(
    writer: Writing, ceph: CephCluster, start_service: StartService
) -> None:
    service = start_service(ceph_lab.LOCATIONS)
    shown = captures.capture(service, writer.guest)
    ceph_lab.flat(service, shown["id"])
    key = ceph.key("nova").encode()
    files = [path for path in service.directory.rglob("*") if path.is_file()]
    assert len(files) > 3
    assert not [path for path in files if key in path.read_bytes()]
    ceph_lab.delete(service, shown["id"])


# --------------------------------------------------------------------------------------------------------- import


@pytest.mark.parametrize("make", [disks.raw, disks.chain], ids=["raw", "three layers of qcow2"])
def test_a_disk_in_a_file_becomes_an_image_on_ceph_in_one_pass(
    make: Any, guests: Guests, ceph: CephCluster, start_service: StartService, tmp: Path
) -> None:
    disk: GuestDisk = make(tmp / "disk", SIZE, blocks.autorun(slots=SLOTS))
    guest = guests.writing(disk)
    service = start_service(ceph_lab.store_cluster(ceph, enable_verify_image_md5sum=True, verify="read-back"))
    before = ceph.contents()

    shown = captures.capture(service, guest)

    assert way(shown) == ("backup", "import")
    place = ceph_lab.placed(service, shown)
    assert place == f"images/{shown['id']}@snap"
    image = ceph_lab.exported(ceph, place, tmp)
    ceph_lab.consistent(image, shown)
    assert service.get(f"/image/v2/images/{shown['id']}").body["md5sum"] == ceph_lab.digest(image, "md5")
    assert shown["images"][0]["disk_format"] == "raw"
    ceph_lab.delete(service, shown["id"])
    ceph_lab.tidy(service, ceph, before, guest)


def test_a_stopped_disk_is_imported_to_the_byte(
    guests: Guests, ceph: CephCluster, start_service: StartService, tmp: Path
) -> None:
    disk = disks.chain(tmp / "disk", SIZE, {"some": b"x" * (1 << 20)})
    guest = guests.define(disk)
    service = start_service(ceph_lab.store_cluster(ceph))
    before = ceph.contents()

    shown = captures.capture(service, guest)

    assert way(shown) == ("offline", "import")
    image = ceph_lab.exported(ceph, ceph_lab.placed(service, shown), tmp)
    assert disks.same(GuestDisk(image, "raw"), disk)
    ceph_lab.delete(service, shown["id"])
    ceph_lab.tidy(service, ceph, before)


def test_a_disk_of_another_cluster_is_imported_from_its_snapshot(
    writer: Writing, ceph: CephCluster, other_ceph: CephCluster, start_service: StartService, tmp: Path
) -> None:
    service = start_service(ceph_lab.store_cluster(other_ceph, target_pool="store", verify="read-back"))
    here, there = ceph.contents(), other_ceph.contents()

    shown = captures.capture(service, writer.guest)

    assert way(shown) == ("snapshot", "import")
    assert "another Ceph cluster" in captures.told(shown)
    assert other_ceph.fsid in ceph_lab.record(service, shown)["location"]
    ceph_lab.consistent(ceph_lab.exported(other_ceph, ceph_lab.placed(service, shown), tmp), shown)
    ceph_lab.delete(service, shown["id"])
    ceph_lab.tidy(service, ceph, here, writer.guest)
    ceph_lab.same(other_ceph, there)


def test_an_import_that_is_refused_goes_into_the_directory(
    guests: Guests, ceph: CephCluster, start_service: StartService, tmp: Path
) -> None:
    disk = disks.raw(tmp / "disk", SIZE, blocks.autorun(slots=SLOTS))
    guest = guests.writing(disk)
    service = start_service(ceph_lab.store_cluster(ceph, store_pool="vms"))
    before = ceph.contents()

    shown = captures.capture(service, guest)

    assert way(shown) == ("backup", "directory")
    assert "ceph auth caps client.glance" in captures.told_operator(shown)
    ceph_lab.tidy(service, ceph, before, guest)
