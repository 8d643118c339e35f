"""make demo-ceph: a VM on Ceph is saved in its cluster while it writes; a second VM boots from a clone of the image.

Cluster and VMs are made for it and gone at the end. The last line is "demo-ceph: ok".
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab import captures, stage
from lab.blocks import Written
from lab.ceph import CephCluster
from lab.disks import GuestDisk
from lab.domains import Guest
from lab.factory import Guests
from lab.libvirtd import PrivateLibvirtd
from lab.service import Options, Service
from lab.stage import MIB
from lab.wait import until

OPTIONS: Options = {"images": {"rbd_locations": True}, "ceph": {"flatten_bandwidth": 256 * MIB}}
FLAT_DEADLINE = 60.0  # seconds


def _show(directory: Path) -> None:
    began = time.monotonic()
    with CephCluster(directory / "ceph") as ceph, PrivateLibvirtd(directory / "host") as host:
        stage.say("A Ceph cluster of its own: a monitor, an OSD, cephx, the users nova, cinder and glance.")
        print(f"    Ready after {time.monotonic() - began:.1f} s; fsid {ceph.fsid}.")
        guests = Guests(host, directory)
        try:
            stage.say("A VM boots from its disk on RBD (vms/original) and writes numbered blocks without pause.")
            disk = ceph.disk(stage.bootable(directory), "original")
            original = guests.define(disk, name="demo", disk_boot=True).start().booted()
            with Service(directory / "stillframe", host, OPTIONS) as service:
                image, found = _save(service, ceph, original, directory)
                stage.unharmed(original)
                _boot_clone(ceph, guests, disk, image, found)
                _flat(service, ceph, image)
        finally:
            guests.remove()


def _save(service: Service, ceph: CephCluster, original: Guest, directory: Path) -> tuple[str, Written]:
    """The image's place, pool/image@snap, and what it was found to hold."""
    before = stage.newest(original)
    print(f"    It is at block {before}, each one durable before the next begins.")
    shown = stage.capture(service)
    after = stage.newest(original)
    record = json.loads((service.images / f"{shown['id']}.json").read_text())
    image = "{}/{}@{}".format(*record["location"].split("/")[3:])
    print(f"\n    Location: {record['location']}")
    _tell_times(captures.record(service, shown["id"]))
    stage.say("Looking into the image from outside (rbd export).")
    ceph.rbd("export", "--no-progress", image, directory / "plain.raw", timeout=120)
    return image, stage.checked(directory / "plain.raw", before, after)


def _tell_times(shown: dict[str, Any]) -> None:
    if (shown["source"], shown["transfer"]) != ("snapshot", "clone"):
        raise stage.Failed(f"it was not cloned but saved by {shown['source']} and {shown['transfer']}")
    print(f"    Frozen for {shown['frozen_ms']:.0f} ms; no byte passed this host; the image is in its own pool.")


def _boot_clone(ceph: CephCluster, guests: Guests, disk: GuestDisk, image: str, found: Written) -> None:
    """A VM from the image as Nova makes one: a clone of its protected snapshot."""
    stage.say("A second VM boots from a clone of the image (vms/second).")
    began = time.monotonic()
    ceph.rbd("clone", image, "vms/second", user="nova")
    print(f"    The clone took {time.monotonic() - began:.2f} s.")
    second = guests.define(replace(disk, path=Path("vms/second")), name="second", disk_boot=True).start().booted()
    print(f"    Booted after {time.monotonic() - began:.1f} s.")
    stage.goes_on(second, found)


def _flat(service: Service, ceph: CephCluster, image: str) -> None:
    stage.say("Meanwhile, in the background, the image is made independent of the disk that it was cloned from.")
    name = image.partition("@")[0]
    capture = name.partition("/")[2]
    until(lambda: not captures.record(service, capture)["held"], FLAT_DEADLINE, "the image to be flat")
    if "parent: " in ceph.rbd("info", name):
        raise stage.Failed(f"{name} still depends on its parent")
    print("    It is; and the snapshot of the disk is gone.")


if __name__ == "__main__":
    sys.exit(stage.perform("demo-ceph", _show, "/var/tmp"))  # noqa: S108 - an OSD wants a real disk
