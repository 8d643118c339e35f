"""A real Cinder, and a guest of Alice's whose disks are its volumes: a root that it writes to, and data."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import blocks, captures, disks
from lab.ceph import CephCluster
from lab.domains import Guest, NovaMetadata
from lab.factory import Guests
from lab.libvirtd import PrivateLibvirtd
from lab.openstack.cinder import Cinder
from lab.openstack.stage import Stage
from lab.rabbitmq import RabbitMq
from lab.wait import until
from tests.cloud.scene import ALICE, Scene

SIZE, SLOTS = 64 << 20, 512
SECOND = f"mkdir -p /data; mount -t ext4 /dev/vdb /data; blockwriter /data/{blocks.FILE} {SLOTS} pause=20000"


@dataclass(frozen=True)
class VolumeScene:
    """The cloud's scene with the guest `vol`, its volumes and their attachments."""

    scene: Scene
    cinder: Cinder
    guest: Guest
    host: PrivateLibvirtd
    volumes: tuple[str, ...]  # the root's, then the data's

    def create(self, name: str = "golden", **metadata: str) -> Any:
        """createImage of the guest, as Alice."""
        body = {"createImage": {"name": name, "metadata": metadata}}
        return self.scene.ask(ALICE, "POST", f"/v2.1/servers/{self.guest.id}/action", body, "2.45")

    @contextmanager
    def options(self, **groups: Mapping[str, object]) -> Iterator[None]:
        """The service with further options, by group; with those of before afterwards."""
        service, before = self.scene.service, self.scene.service.config_file.read_text()
        patient: dict[str, Mapping[str, object]] = {"glance": {"timeout": 30}}  # a busy machine
        added = "".join(
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in values.items())
            for group, values in (patient | groups).items()
        )
        service.config_file.write_text(f"{before}\n{added}")
        service.restart()
        try:
            captures.known(service, self.guest)
            yield
        finally:
            service.config_file.write_text(before)
            service.restart()

    def untouched(self) -> None:
        """Nothing of a capture is left in Cinder, on the volumes, or in the guest."""
        until(lambda: not self.cinder.snapshots(), 60, "Cinder's snapshots to be gone", pause=0.5)
        self.unmarked()
        assert captures.left_behind(self.scene.service, self.guest) == []

    def unmarked(self) -> None:
        """No snapshot of ours is on a volume."""
        for volume in self.volumes:
            listed = json.loads(self.cinder.ceph.rbd("snap", "ls", "--format", "json", f"volumes/volume-{volume}"))
            assert [each["name"] for each in listed if each["name"].startswith("stillframe-")] == []

    def consistent(self, raw: Path) -> int:
        """The newest numbered block on a disk's bytes, which were frozen; all before it are there."""
        assert blocks.clean(raw)
        return blocks.written(raw, slots=SLOTS).last

    def of_volume(self, volume: str, directory: Path) -> Path:
        """The bytes of a volume, as a file."""
        target = directory / volume
        self.cinder.ceph.rbd("export", "--no-progress", f"volumes/volume-{volume}", target, timeout=120)
        os.truncate(target, SIZE)
        return target


@pytest.fixture(scope="session")
def cinder(place: Path, stage: Stage, ceph: CephCluster) -> Iterator[Cinder]:
    with (
        RabbitMq(place / "mq") as broker,
        Cinder(
            place / "cinder", stage.db, broker, keystone=stage.keystone, glance=stage.glance, ceph=ceph
        ) as made,
    ):  # fmt: skip
        yield made


@pytest.fixture(scope="session")
def volume_guest(
    libvirtd: PrivateLibvirtd, place: Path, stage: Stage, cinder: Cinder
) -> Iterator[tuple[Guest, tuple[str, ...]]]:
    """It writes numbered blocks on both volumes; at the end Cinder deletes both, and nothing is left in its pool."""
    guests = Guests(libvirtd, place)
    volumes = tuple(cinder.make(ALICE, name) for name in ("root", "data"))
    cinder.fill(volumes[0], disks.raw(place / "root.raw", SIZE, blocks.autorun(slots=SLOTS, pause_us=20000)))
    cinder.fill(volumes[1], disks.raw(place / "data.raw", SIZE))
    nova = NovaMetadata(name="vol", project_id=stage.keystone.project_id("red"), image_id=volumes[0])
    shown = [cinder.disk(volume, target) for volume, target in zip(volumes, ("vda", "vdb"), strict=True)]
    guest = guests.writing(*shown, name="instance-vol", nova=nova)
    guest.execute(f"{SECOND} >/dev/null 2>&1 &")
    attachments = [cinder.attach(ALICE, volume, guest.id) for volume in volumes]
    yield guest, volumes
    guests.remove()
    for attachment, volume in zip(attachments, volumes, strict=True):
        cinder.detach(attachment)
        cinder.expect(ALICE, volume, "available")
        cinder.delete(ALICE, volume)
    found = cinder.ceph.contents()
    assert (found["volumes"], found["volumes, trash"]) == ([], [])


@pytest.fixture
def vol(
    scene: Scene, cinder: Cinder, volume_guest: tuple[Guest, tuple[str, ...]], libvirtd: PrivateLibvirtd
) -> Iterator[VolumeScene]:
    guest, volumes = volume_guest
    captures.known(scene.service, guest)
    made = VolumeScene(scene, cinder, guest, libvirtd, volumes)
    yield made
    for snapshot in cinder.snapshots():
        scene.cloud(ALICE).block_storage.delete_snapshot(snapshot.id)
    until(lambda: not cinder.snapshots(), 60, "Cinder's snapshots to be gone", pause=0.5)


def downloaded(scene: Scene, image_id: str, directory: Path) -> Path:
    """The bytes of an image of Glance's, as far as the guest's filesystem goes."""
    target = Path(tempfile.mkdtemp(dir=directory)) / "image"
    data = scene.cloud().image.download_image(image_id, stream=True)
    with target.open("wb") as file:
        for piece in data.iter_content(1 << 20):
            file.write(piece)
    os.truncate(target, SIZE)
    return target
