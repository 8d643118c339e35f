"""The two ends of the data path on real clusters: what is read and written is what was there."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.ceph import CephCluster
from lab.tools import tool
from lab.wait import until
from stillframe.datapath.allocation import map_of
from stillframe.datapath.control import Control
from stillframe.datapath.copy import Copied, copy
from stillframe.datapath.qcow2 import qcow2
from stillframe.datapath.raw import raw
from stillframe.datapath.reader import Reader, read
from stillframe.datapath.sink import FileSink, Sink
from stillframe.disks.rbd import images, snapshots
from stillframe.disks.rbd.cluster import Cluster
from stillframe.disks.rbd.names import RbdImage
from stillframe.disks.rbd.reader import RbdReader
from stillframe.disks.rbd.sink import RbdSink
from stillframe.errors.capture import CaptureCancelled, DeadlineExceeded, ReadFailed
from stillframe.errors.ceph import CephForbidden, RbdMissing
from tests.real.ceph_tools import MIB, connected, exported, imported, patterned, within
from tests.unit.datapath.fakes import PatternReader, nothing

pytestmark = pytest.mark.ceph  # make test-ceph

CAPTURE = "5b6d2c1e-capture"
SNAP = f"stillframe-{CAPTURE}"


@pytest.fixture
def cluster(ceph: CephCluster) -> Iterator[Cluster]:
    before = ceph.contents()
    cluster = connected(ceph, "admin")
    yield cluster
    cluster.close()
    assert ceph.contents() == before


@pytest.fixture
def held(ceph: CephCluster, cluster: Cluster, tmp: Path) -> Iterator[RbdImage]:
    """A snapshot of a disk of 100 MiB and 512 bytes, with data in three places, that was overwritten afterwards."""
    size = 100 * MIB + 512
    image = imported(ceph, cluster, patterned(tmp / "disk", size, (0, 5 * MIB), (50 * MIB, 8192), (99 * MIB, MIB)))
    snapshots.create(cluster, image, SNAP)
    ceph.rbd("bench", "--io-type", "write", "--io-size", "4M", "--io-total", "20M", str(image))
    yield image
    snapshots.remove(cluster, image, SNAP)
    ceph.rbd("rm", "--no-progress", str(image))


def copied(reader: Reader, sink: Sink, control: Control | None = None, *digests: str) -> Copied:
    control = control or Control()
    return copy(reader, raw(map_of(reader, control.check)), sink, control, digests=digests)


def test_a_snapshot_is_read_as_it_was(ceph: CephCluster, cluster: Cluster, held: RbdImage, tmp: Path) -> None:
    wanted = exported(ceph, held, tmp / "wanted", SNAP)
    with RbdReader(cluster, held, SNAP) as reader:
        made = copied(reader, FileSink(tmp / "image", reader.size), None, "md5", "sha256")
        assert read(reader, 50 * MIB, 8192, nothing) == wanted[50 * MIB : 50 * MIB + 8192]
        assert read(reader, reader.size - 100, 500, nothing) == wanted[-100:]
    assert (tmp / "image").read_bytes() == wanted
    assert made.digests["md5"] == hashlib.md5(wanted, usedforsecurity=False).hexdigest()
    assert made.data_bytes <= 16 * MIB + 512
    assert (tmp / "image").stat().st_blocks * 512 <= 17 * MIB


def test_the_same_as_qcow2(ceph: CephCluster, cluster: Cluster, held: RbdImage, tmp: Path) -> None:
    exported(ceph, held, tmp / "wanted", SNAP)
    with RbdReader(cluster, held, SNAP) as reader:
        layout = qcow2(map_of(reader, nothing))
        copy(reader, layout, FileSink(tmp / "image", layout.length), Control(), digests=())
    tool("qemu-img", "compare", "-q", "-f", "raw", "-F", "qcow2", tmp / "wanted", tmp / "image")


def test_what_a_clone_inherits_is_read_too(ceph: CephCluster, cluster: Cluster, held: RbdImage, tmp: Path) -> None:
    wanted = exported(ceph, held, tmp / "wanted", SNAP)
    clone = cluster.image("vms", "clone")
    images.clone(cluster, held, SNAP, clone, CAPTURE, form=2)
    snapshots.create(cluster, clone, SNAP)
    with RbdReader(cluster, clone, SNAP) as reader:
        copied(reader, FileSink(tmp / "image", reader.size))
    assert (tmp / "image").read_bytes() == wanted
    images.remove(cluster, clone, CAPTURE, snaps=(SNAP,))


def test_an_image_is_written_and_what_is_zeros_takes_no_room(ceph: CephCluster, cluster: Cluster, tmp: Path) -> None:
    target = cluster.image("images", "import")
    disk = PatternReader(64 * MIB + 512, [(0, 5 * MIB), (30 * MIB, 300), (64 * MIB, 512)])
    images.create(cluster, target, disk.size, CAPTURE)
    made = copied(disk, RbdSink(cluster, target), None, "md5")
    written = exported(ceph, target, tmp / "written")
    assert written == disk.content(0, disk.size)
    assert made.digests["md5"] == hashlib.md5(written, usedforsecurity=False).hexdigest()
    snapshots.create(cluster, target, "snap")
    with RbdReader(cluster, target, "snap") as reader:
        assert sum(extent.length for extent in reader.extents(nothing) if extent.data) == 12 * MIB + 512
        assert read(reader, 0, MIB, nothing) == written[:MIB]
    images.remove(cluster, target, CAPTURE)


def test_zeros_that_the_map_calls_data_are_not_written(ceph: CephCluster, cluster: Cluster) -> None:
    target = cluster.image("images", "import")
    images.create(cluster, target, 32 * MIB, CAPTURE)
    sink = RbdSink(cluster, target)
    for offset in range(0, 32 * MIB, MIB):
        sink.write(offset, memoryview(bytes(MIB)))
    sink.finish()
    assert not ceph.rbd("diff", str(target)).strip()
    images.remove(cluster, target, CAPTURE)


def test_from_one_cluster_to_another(
    ceph: CephCluster, other_ceph: CephCluster, cluster: Cluster, held: RbdImage, tmp: Path
) -> None:
    other = connected(other_ceph, "admin")
    target = other.image("images", "import")
    with RbdReader(cluster, held, SNAP) as reader:
        images.create(other, target, reader.size, CAPTURE)
        copied(reader, RbdSink(other, target))
    assert exported(other_ceph, target, tmp / "there") == exported(ceph, held, tmp / "here", SNAP)
    images.remove(other, target, CAPTURE)
    other.close()


def test_what_cannot_be_opened_is_told(ceph: CephCluster, cluster: Cluster, held: RbdImage) -> None:
    ceph.make_user("stranger", "profile rbd pool=volumes")
    ceph.make_user("reader", "profile rbd-read-only pool=vms")
    stranger, reader = connected(ceph, "stranger"), connected(ceph, "reader")
    with pytest.raises(RbdMissing, match=f"{held.image}@none"):
        RbdReader(cluster, held, "none")
    with pytest.raises(CephForbidden, match="stranger may not read a snapshot in pool vms"):
        RbdReader(stranger, held, SNAP)
    with pytest.raises(CephForbidden, match="reader may not write an image in pool vms"):
        RbdSink(reader, held)
    RbdReader(reader, held, SNAP).close()
    stranger.close()
    reader.close()


def test_a_cancel_ends_a_copy_from_an_osd_that_hangs(tmp: Path) -> None:
    with CephCluster(tmp / "c") as own:
        cluster = connected(own)
        image = imported(own, cluster, patterned(tmp / "disk", 64 * MIB, (0, 64 * MIB)))
        snapshots.create(cluster, image, SNAP)
        reader = RbdReader(cluster, image, SNAP)
        control = Control(bandwidth=20 * MIB)
        pausing = threading.Thread(target=_pause_in_the_middle, args=(own, control))
        pausing.start()
        with within(20), pytest.raises(CaptureCancelled):
            copied(reader, FileSink(tmp / "image", reader.size), control)
        with within(4):
            reader.close()
        pausing.join()
        own.go_on("osd")
        snapshots.remove(cluster, image, SNAP)
        cluster.close()


def _pause_in_the_middle(ceph: CephCluster, control: Control) -> None:
    until(lambda: control.meter.progress().done > 8 * MIB, 20, "some bytes")
    ceph.pause("osd")
    threading.Timer(1, control.cancel, [CaptureCancelled()]).start()


def test_an_osd_that_stops_ends_a_write_when_nothing_moves_any_more(tmp: Path) -> None:
    with CephCluster(tmp / "c") as own:
        cluster = connected(own)
        target = cluster.image("vms", "import")
        images.create(cluster, target, 64 * MIB, CAPTURE)
        sink = RbdSink(cluster, target, stall=1)
        block = memoryview(b"x" * MIB)
        sink.write(0, block)
        own.pause("osd")
        with within(10), pytest.raises(DeadlineExceeded, match="Writing the image"):
            for number in range(1, 64):
                sink.write(number * MIB, block)
        with within(2):
            sink.abort()
        own.go_on("osd")
        until(lambda: not own.rbd("status", str(target)).count("watcher="), 30, "the end of the sink that was left")
        images.remove(cluster, target, CAPTURE)
        assert own.rbd("ls", "vms") == ""
        cluster.close()


def test_a_copy_goes_on_when_the_osd_comes_back(tmp: Path) -> None:
    with CephCluster(tmp / "c") as own:
        cluster = connected(own)
        image = imported(own, cluster, patterned(tmp / "disk", 64 * MIB, (0, 64 * MIB)))
        snapshots.create(cluster, image, SNAP)
        control = Control(bandwidth=30 * MIB)
        with RbdReader(cluster, image, SNAP) as reader:
            copying = threading.Thread(target=copied, args=(reader, FileSink(tmp / "image", reader.size), control))
            copying.start()
            until(lambda: control.meter.progress().done > 8 * MIB, 20, "some bytes")
            own.restart("osd")
            copying.join(60)
        assert (tmp / "image").read_bytes() == (tmp / "disk").read_bytes()
        cluster.close()


def test_reading_beyond_the_end_fails(cluster: Cluster, held: RbdImage) -> None:
    with RbdReader(cluster, held, SNAP) as reader:
        ticket = reader.start(reader.size - 512, memoryview(bytearray(1024)))
        with pytest.raises(ReadFailed):
            reader.finish(ticket, nothing)
