"""Captures of guests whose disks are on Ceph: one instant, no byte through this host, nothing left in any pool."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import rbd

from lab import blocks, captures
from lab.ceph import CephCluster
from lab.factory import Guests
from lab.libvirtd import PrivateLibvirtd
from lab.wait import until
from tests.real import live_tools as live
from tests.real import rbd_tools as ceph_lab
from tests.real.conftest import StartService
from tests.real.live_tools import MIB, SLOTS, Writing


@pytest.fixture(scope="module")
def shared_writer(ceph: CephCluster, libvirtd: PrivateLibvirtd) -> Iterator[Writing]:
    """One whose disk is on Ceph."""
    with ceph_lab.writing(ceph, libvirtd) as made:
        yield made


@pytest.mark.parametrize("oldest_client", ["luminous", "mimic"], ids=["clones of format 1", "clones of format 2"])
def test_a_writing_guest_is_cloned_at_one_instant_and_the_clone_made_flat_afterwards(
    oldest_client: str, writer: Writing, ceph: CephCluster, start_service: StartService, tmp: Path
) -> None:
    ceph.command("osd set-require-min-compat-client", version=oldest_client, yes_i_really_mean_it=True)
    service = start_service(ceph_lab.LOCATIONS)
    before = ceph.contents()
    said = blocks.reports(writer.guest.serial())[-1].last

    shown = captures.capture(service, writer.guest)

    assert (shown["source"], shown["transfer"], shown["consistency"]) == ("snapshot", "clone", "filesystem")
    assert shown["frozen_ms"] > 0
    image = ceph_lab.exported(ceph, ceph_lab.placed(service, shown), tmp)
    assert ceph_lab.consistent(image, shown) >= said
    ceph_lab.flat(service, shown["id"])
    assert ceph_lab.digest(ceph_lab.exported(ceph, ceph_lab.placed(service, shown), tmp)) == ceph_lab.digest(image)
    assert "parent: " not in ceph.rbd("info", f"vms/{shown['id']}")
    assert service.get(f"/image/v2/images/{shown['id']}").body["disk_format"] == "raw"
    assert service.get(f"/image/v2/images/{shown['id']}/file").status == 409
    ceph_lab.delete(service, shown["id"])
    ceph_lab.tidy(service, ceph, before, writer.guest)


def test_both_sides_are_the_same_at_the_instant_and_never_means_never(
    writer: Writing, ceph: CephCluster, start_service: StartService, tmp: Path
) -> None:
    service = start_service(ceph_lab.options(flatten="never"))
    before = ceph.contents()

    shown = captures.capture(service, writer.guest)

    disk = f"{writer.disk.path}@stillframe-{shown['id']}"
    image = ceph_lab.placed(service, shown)
    assert ceph_lab.digest(ceph_lab.exported(ceph, disk, tmp)) == ceph_lab.digest(ceph_lab.exported(ceph, image, tmp))
    live.tidy(service, writer.guest)
    assert f"parent: {disk}" in ceph.rbd("info", f"vms/{shown['id']}")
    ceph_lab.delete(service, shown["id"])
    ceph_lab.tidy(service, ceph, before, writer.guest)


def test_flattened_now_it_is_independent_when_it_is_published(
    writer: Writing, ceph: CephCluster, start_service: StartService
) -> None:
    service = start_service(ceph_lab.options(flatten="now"))
    before = ceph.contents()

    shown = captures.capture(service, writer.guest)

    assert "parent: " not in ceph.rbd("info", f"vms/{shown['id']}")
    assert shown["held"] == []
    assert live.step(shown, "flatten vda") is not None
    ceph_lab.delete(service, shown["id"])
    ceph_lab.tidy(service, ceph, before, writer.guest)


def test_a_paused_guest_is_saved_as_it_stands_and_stays_paused(
    writer: Writing, ceph: CephCluster, start_service: StartService, tmp: Path
) -> None:
    service = start_service(ceph_lab.LOCATIONS)
    writer.guest.suspend()
    captures.known(service, writer.guest, "PAUSED")

    shown = captures.capture(service, writer.guest)

    assert (shown["source"], shown["transfer"], shown["consistency"]) == ("snapshot", "clone", "crash")
    assert shown["frozen_ms"] is None
    assert not writer.guest.running
    ceph_lab.consistent(ceph_lab.exported(ceph, ceph_lab.placed(service, shown), tmp), shown)
    ceph_lab.flat(service, shown["id"])
    ceph_lab.delete(service, shown["id"])
    writer.guest.resume()


def test_a_stopped_guest_is_saved_though_nobody_but_the_cluster_knows_its_size(
    guests: Guests, ceph: CephCluster, start_service: StartService, tmp: Path
) -> None:
    before = ceph.contents()
    disk = ceph_lab.on_rbd(ceph, tmp)
    guest = guests.define(disk)
    service = start_service(ceph_lab.LOCATIONS)

    shown = captures.capture(service, guest, quiesce=True)

    assert (shown["source"], shown["transfer"], shown["consistency"]) == ("snapshot", "clone", "offline")
    assert shown["images"][0]["virtual_size"] == live.SIZE
    image = ceph_lab.placed(service, shown)
    assert ceph_lab.digest(ceph_lab.exported(ceph, str(disk.path), tmp)) == ceph_lab.digest(
        ceph_lab.exported(ceph, image, tmp)
    )
    ceph_lab.flat(service, shown["id"])
    ceph_lab.delete(service, shown["id"])
    ceph_lab.removed(ceph, disk)
    ceph_lab.tidy(service, ceph, before)


@pytest.mark.ceph
def test_several_disks_are_saved_at_one_instant(
    guests: Guests, ceph: CephCluster, start_service: StartService, tmp: Path
) -> None:
    before = ceph.contents()
    disks = [ceph_lab.on_rbd(ceph, tmp), ceph_lab.on_rbd(ceph, tmp, target="vdb")]
    guest = guests.writing(*disks, agent=False)
    service = start_service(ceph_lab.LOCATIONS)

    shown = captures.capture(service, guest, disks=["vda", "vdb"])

    assert (shown["source"], shown["transfer"]) == ("snapshot", "clone")
    assert shown["stopped_ms"] > 0  # nothing was frozen: the guest stood still for the snapshots
    ceph_lab.consistent(ceph_lab.exported(ceph, ceph_lab.placed(service, shown), tmp), shown)
    assert "/vms/" in ceph_lab.record(service, shown, 1)["location"]
    ceph_lab.flat(service, shown["id"])
    for image in shown["images"]:
        ceph_lab.delete(service, image["id"])
    guests.remove()
    for disk in disks:
        ceph_lab.removed(ceph, disk)
    ceph_lab.tidy(service, ceph, before)


def test_a_guest_that_must_be_frozen_and_cannot_be_is_refused(
    guests: Guests, ceph: CephCluster, start_service: StartService, tmp: Path
) -> None:
    before = ceph.contents()
    disk = ceph_lab.on_rbd(ceph, tmp)
    guest = guests.writing(disk, agent=False)
    service = start_service(ceph_lab.LOCATIONS)

    live.failed(service, captures.begin(service, guest, quiesce=True), "cannot-freeze")

    guests.remove()
    ceph_lab.removed(ceph, disk)
    ceph_lab.tidy(service, ceph, before)


def test_the_md5_of_the_content_is_a_property_of_the_image(
    writer: Writing, ceph: CephCluster, start_service: StartService, tmp: Path
) -> None:
    service = start_service(ceph_lab.options(enable_verify_image_md5sum=True))

    shown = captures.capture(service, writer.guest)

    image = ceph_lab.exported(ceph, ceph_lab.placed(service, shown), tmp)
    assert service.get(f"/image/v2/images/{shown['id']}").body["md5sum"] == ceph_lab.digest(image, "md5")
    ceph_lab.flat(service, shown["id"])
    ceph_lab.delete(service, shown["id"])


def test_what_the_guest_disguised_is_refused_before_anything_is_cloned(
    guests: Guests, ceph: CephCluster, start_service: StartService, tmp: Path
) -> None:
    before = ceph.contents()
    disk = ceph_lab.on_rbd(ceph, tmp)
    header = tmp / "header"
    header.write_bytes(b"QFI\xfb\x00\x00\x00\x03" + bytes(MIB))
    ceph.rbd("rm", "--no-progress", str(disk.path))
    ceph.rbd("import", "--no-progress", header, str(disk.path))
    guest = guests.define(disk)
    service = start_service(ceph_lab.LOCATIONS)

    live.failed(service, captures.begin(service, guest), "unsafe-content")

    ceph_lab.removed(ceph, disk)
    ceph_lab.tidy(service, ceph, before)


# ------------------------------------------------------------------------------------------- the image afterwards


def test_an_image_is_not_deleted_while_clones_need_it(
    writer: Writing, ceph: CephCluster, start_service: StartService
) -> None:
    service = start_service(ceph_lab.LOCATIONS)
    before = ceph.contents()
    shown = captures.capture(service, writer.guest)
    ceph_lab.flat(service, shown["id"])
    ceph.rbd("clone", ceph_lab.placed(service, shown), "vms/server")

    told = ceph_lab.delete(service, shown["id"], expected=409)

    assert "1 that depend on it" in str(told)
    assert service.get(f"/image/v2/images/{shown['id']}").body["status"] == "active"
    ceph.rbd("rm", "--no-progress", "vms/server")
    ceph_lab.delete(service, shown["id"])
    ceph_lab.tidy(service, ceph, before, writer.guest)


def test_an_image_can_be_deleted_while_it_is_made_flat(
    writer: Writing, ceph: CephCluster, start_service: StartService
) -> None:
    service = start_service(ceph_lab.options(flatten_bandwidth=MIB))
    before = ceph.contents()
    shown = captures.capture(service, writer.guest)
    until(lambda: "%" in str(captures.record(service, shown["id"])["held"]), 30, "the flattening to be seen")

    ceph_lab.delete(service, shown["id"])

    assert service.get(f"/image/v2/images/{shown['id']}").status == 404
    ceph_lab.tidy(service, ceph, before, writer.guest)


@pytest.mark.ceph
def test_who_opened_the_image_before_it_was_flat_reads_the_same_afterwards(
    writer: Writing, ceph: CephCluster, start_service: StartService, tmp: Path
) -> None:
    """A server that boots from an image at once keeps it open for months."""
    service = start_service(ceph_lab.options(flatten_bandwidth=4 * MIB))
    shown = captures.capture(service, writer.guest)
    place = ceph_lab.placed(service, shown)
    with ceph.administrator() as cluster, cluster.open_ioctx("vms") as pool:
        rbd.RBD().clone(pool, shown["id"], "snap", pool, "server")
        with rbd.Image(pool, "server") as server, rbd.Image(pool, shown["id"], "snap", read_only=True) as export:
            server.read(0, 4096)
            export.read(0, 4096)
            ceph_lab.flat(service, shown["id"])
            said = len(blocks.reports(writer.guest.serial()))
            until(lambda: len(blocks.reports(writer.guest.serial())) > said + 2, 60, "the guest to write on")
            expected = ceph_lab.exported(ceph, place, tmp).read_bytes()
            assert server.read(0, live.SIZE) == expected
            assert export.read(0, live.SIZE) == expected
        rbd.RBD().remove(pool, "server")
    ceph_lab.delete(service, shown["id"])


@pytest.mark.ceph
def test_the_disk_can_go_to_the_trash_while_its_image_is_made_flat(
    guests: Guests, ceph: CephCluster, start_service: StartService, tmp: Path
) -> None:
    ceph.command("osd set-require-min-compat-client", version="mimic", yes_i_really_mean_it=True)
    before = ceph.contents()
    disk = ceph_lab.on_rbd(ceph, tmp)
    guest = guests.writing(disk)
    service = start_service(ceph_lab.options(flatten_bandwidth=4 * MIB))
    shown = captures.capture(service, guest)
    until(lambda: "%" in str(captures.record(service, shown["id"])["held"]), 30, "the flattening to be seen")
    [snap] = json.loads(ceph.rbd("snap", "ls", "--format", "json", str(disk.path)))
    assert snap["name"] == f"stillframe-{shown['id']}"  # in no trash: what is not flat may need it yet
    guests.remove()

    ceph.rbd("trash", "mv", str(disk.path))

    ceph_lab.flat(service, shown["id"])
    image = ceph_lab.exported(ceph, ceph_lab.placed(service, shown), tmp)
    assert blocks.written(image, slots=SLOTS).last > 0
    ceph.rbd("trash", "purge", "--no-progress", "vms")
    ceph_lab.delete(service, shown["id"])
    ceph_lab.tidy(service, ceph, before)
