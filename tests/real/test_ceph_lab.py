"""The lab's Ceph: what the tests of everything on it rely on."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import blocks, disks
from lab.ceph import CephCluster
from lab.factory import Guests
from lab.leaks import leaks
from lab.tools import ToolFailed

MIB = 1 << 20


def test_a_guest_writes_to_its_disk_on_rbd(ceph: CephCluster, guests: Guests, tmp: Path) -> None:
    before = ceph.contents()
    disk = ceph.disk(disks.raw(tmp / "a.raw", 64 * MIB, blocks.autorun(slots=512)), "guest_disk")
    guests.writing(disk).remove()

    ceph.rbd("export", "--no-progress", "vms/guest_disk", tmp / "copy.raw")
    ceph.rbd("rm", "--no-progress", "vms/guest_disk")

    assert blocks.written(tmp / "copy.raw", slots=512).last > 0
    assert ceph.contents() == before


def test_users_may_do_what_their_capabilities_say_and_no_more(ceph: CephCluster) -> None:
    ceph.make_user("reader", "profile rbd-read-only pool=vms")
    assert ceph.rbd("ls", "vms", user="reader") == ceph.rbd("ls", "vms")
    with pytest.raises(ToolFailed, match="not permitted"):
        ceph.rbd("create", "--size", "1M", "vms/a", user="reader")
    ceph.make_user("reader", "profile rbd pool=vms")
    ceph.rbd("create", "--size", "1M", "vms/a", user="reader")
    ceph.rbd("rm", "--no-progress", "vms/a", user="reader")


def test_images_outlive_the_daemons(tmp: Path) -> None:
    with CephCluster(tmp / "c") as cluster:
        cluster.rbd("create", "--size", "1M", "vms/a")
        cluster.restart("osd")
        cluster.restart("mon")
        assert cluster.rbd("ls", "vms") == "a\n"
        assert leaks(tmp / "c")
    assert leaks(tmp / "c") == []
