"""Connections to real clusters that refuse, hang, vanish and come back: everything ends within its deadline."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.ceph import CephCluster
from lab.wait import until
from stillframe.disks.rbd import images, snapshots
from stillframe.disks.rbd.cluster import Cluster, Clusters
from stillframe.disks.rbd.names import Endpoint, RbdImage
from stillframe.errors.capture import DeadlineExceeded
from stillframe.errors.ceph import CephRefused, CephUnreachable, RbdMissing
from tests.real.ceph_tools import MIB, connected, endpoint, within

pytestmark = pytest.mark.ceph  # make test-ceph

CAPTURE = "5b6d2c1e-capture"
SNAP = f"stillframe-{CAPTURE}"


@pytest.fixture
def own_ceph(tmp: Path) -> Iterator[CephCluster]:
    """A cluster to break."""
    with CephCluster(tmp / "c") as cluster:
        yield cluster


@pytest.fixture
def disk(own_ceph: CephCluster) -> RbdImage:
    own_ceph.rbd("create", "--size", "64M", "vms/disk")
    return RbdImage(own_ceph.fsid, "vms", "disk")


@pytest.fixture
def lines() -> Callable[[], int]:
    """How many connections of this test there are, those that were left behind included."""
    before = set(threading.enumerate())

    def count() -> int:
        return sum(thread.name == "ceph" for thread in set(threading.enumerate()) - before)

    return count


def test_two_clusters_are_told_apart_where_everything_has_the_same_name(
    ceph: CephCluster, other_ceph: CephCluster, lines: Callable[[], int]
) -> None:
    clusters = Clusters()
    one, two = clusters.open(endpoint(ceph)), clusters.open(endpoint(other_ceph))
    assert (one.fsid, two.fsid) == (ceph.fsid, other_ceph.fsid)
    assert clusters.open(endpoint(ceph)) is one
    image = one.image("vms", "same")
    images.create(one, image, MIB, CAPTURE)
    assert images.exists(one, image)
    assert not images.exists(two, two.image("vms", "same"))
    assert two.image("vms", "same") != image
    images.remove(one, image, CAPTURE)
    clusters.close()
    until(lambda: not lines(), 5, "the end of all connections")


def test_a_ceph_conf_and_a_keyring_will_do(ceph: CephCluster) -> None:
    cluster = Cluster(Endpoint(user="nova", conf=ceph.conf, keyring=ceph.keyring("nova")))
    assert cluster.fsid == ceph.fsid
    cluster.close()


def test_connections_are_used_again_but_not_by_two_at_once(ceph: CephCluster, lines: Callable[[], int]) -> None:
    cluster = connected(ceph)
    for _ in range(3):
        assert snapshots.exists(cluster, cluster.image("vms", "none"), SNAP) is False
    assert lines() == 1
    gate = threading.Barrier(3, timeout=10)
    users = [threading.Thread(target=cluster.call, args=("Meeting", 20, lambda _: gate.wait())) for _ in range(3)]
    for user in users:
        user.start()
    for user in users:
        user.join(20)
    assert lines() == 3
    cluster.close()
    until(lambda: not lines(), 5, "the end of all connections")


def test_a_call_that_hangs_is_left_behind_with_its_connection(ceph: CephCluster, lines: Callable[[], int]) -> None:
    cluster = connected(ceph)
    release = threading.Event()
    with within(2), pytest.raises(DeadlineExceeded, match=r"Dreaming took longer than 0\.2 seconds"):
        cluster.call("Dreaming", 0.2, lambda _: release.wait(30))
    assert cluster.call("Asking", 10, lambda connection: connection.get_fsid()) == ceph.fsid
    assert lines() == 2
    release.set()
    until(lambda: lines() == 1, 5, "the end of the connection that was left behind")
    cluster.close()


def test_a_wrong_key_and_an_unknown_user_are_told_from_a_dead_monitor(
    ceph: CephCluster, other_ceph: CephCluster
) -> None:
    for user, key in (("nova", other_ceph.key("nova")), ("nobody", ceph.key("nova"))):
        stranger = Endpoint(ceph.monitors, user, key)
        with within(8), pytest.raises(CephRefused, match=rf"client\.{user}, monitors") as refused:
            Cluster(stranger, timeout=3)
        assert key not in f"{refused.value!r} {refused.value} {stranger!r} {stranger} {refused.value.fault}"
    configured = Endpoint(user="nobody", conf=ceph.conf, keyring=ceph.keyring("nova"))
    with within(8), pytest.raises(CephRefused, match=r"client\.nobody, monitors"):
        Cluster(configured, timeout=3)
    nobody_there = Endpoint(("127.0.0.1:1",), "nova", ceph.key("nova"))
    with within(8), pytest.raises(CephUnreachable, match=r"within 3 seconds\. \(monitors 127\.0\.0\.1:1"):
        Cluster(nobody_there, timeout=3)


def test_a_stopped_osd_holds_nobody_beyond_the_deadline(
    own_ceph: CephCluster, disk: RbdImage, lines: Callable[[], int]
) -> None:
    cluster = connected(own_ceph)
    own_ceph.pause("osd")
    calls: list[Any] = [
        lambda: snapshots.create(cluster, disk, SNAP, timeout=0.5),
        lambda: snapshots.names(cluster, disk, timeout=0.5),
        lambda: snapshots.remove(cluster, disk, SNAP, timeout=0.5),
        lambda: snapshots.children(cluster, disk, SNAP, timeout=0.5),
        lambda: images.create(cluster, cluster.image("vms", "new"), MIB, CAPTURE, timeout=0.5),
        lambda: images.remove(cluster, cluster.image("vms", "new"), CAPTURE, timeout=0.5),
    ]
    for call in calls:
        with within(3), pytest.raises(DeadlineExceeded, match=r"took longer than 0\.5 seconds"):
            call()
    own_ceph.go_on("osd")
    # what had been asked for is done all the same by those left behind, and undone by them
    until(lambda: lines() == 0, 60, "the end of what was left behind")
    assert snapshots.names(cluster, disk) == ()
    assert not images.exists(cluster, cluster.image("vms", "new"))
    cluster.close()


def test_an_osd_that_was_killed_is_waited_for(own_ceph: CephCluster, disk: RbdImage) -> None:
    cluster = connected(own_ceph)
    own_ceph.kill("osd")
    taking = threading.Thread(target=snapshots.create, args=(cluster, disk, SNAP))
    taking.start()
    own_ceph.restart("osd")
    taking.join(60)
    assert snapshots.names(cluster, disk) == (SNAP,)
    cluster.close()


def test_a_monitor_that_went_away_is_missed_by_new_connections_only(own_ceph: CephCluster, disk: RbdImage) -> None:
    cluster = connected(own_ceph, timeout=2)
    assert images.size(cluster, disk) == 64 * MIB  # by now it has the maps, which it gets of a monitor
    own_ceph.kill("mon")
    assert images.size(cluster, disk) == 64 * MIB
    with within(6), pytest.raises(CephUnreachable):
        connected(own_ceph, timeout=2)
    own_ceph.restart("mon")
    assert images.size(cluster, disk) == 64 * MIB
    with pytest.raises(RbdMissing):
        images.size(connected(own_ceph), cluster.image("vms", "none"))
    cluster.close()


def test_a_monitor_that_hangs_is_told_within_the_deadline(own_ceph: CephCluster, disk: RbdImage) -> None:
    cluster = connected(own_ceph, timeout=2)
    assert images.size(cluster, disk) == 64 * MIB
    own_ceph.pause("mon")
    with within(6), pytest.raises(CephUnreachable):
        connected(own_ceph, timeout=2)
    own_ceph.go_on("mon")
    assert images.size(connected(own_ceph), disk) == 64 * MIB
    cluster.close()


def test_an_owner_that_was_killed_delays_a_snapshot_and_no_more(own_ceph: CephCluster, disk: RbdImage) -> None:
    cluster = connected(own_ceph)
    assert kill_in_mid_write(own_ceph, disk) == -signal.SIGKILL
    began = time.monotonic()
    snapshots.create(cluster, disk, SNAP)
    snapshots.remove(cluster, disk, SNAP)
    assert time.monotonic() - began < 40
    assert snapshots.names(cluster, disk) == ()
    cluster.close()


def kill_in_mid_write(ceph: CephCluster, image: RbdImage) -> int:
    """Has a process take the image's exclusive lock and write, then kills it; its exit code."""
    script = f"""
import os, rados, rbd, signal
connection = rados.Rados(conffile={str(ceph.conf)!r}, rados_id="nova")
connection.connect()
with connection.open_ioctx({image.pool!r}) as ioctx, rbd.Image(ioctx, {image.image!r}) as opened:
    opened.write(b"x" * 4096, 0)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    return subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode
