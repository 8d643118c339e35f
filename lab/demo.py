"""make demo: a real VM is saved as an image while it writes, and a second VM boots from that image.

Everything lies in one temporary directory and is gone at the end, also after Ctrl-C. The last line is "demo: ok".
"""

from __future__ import annotations

import sys
from pathlib import Path

from lab import disks, stage
from lab.disks import GuestDisk
from lab.factory import Guests
from lab.libvirtd import PrivateLibvirtd
from lab.service import Service


def _show(directory: Path) -> None:
    with PrivateLibvirtd(directory / "host") as host:
        guests = Guests(host, directory)
        try:
            stage.say("A VM boots from its own disk (GRUB, ext4) and writes numbered blocks without pause.")
            disk = disks.as_qcow2(stage.bootable(directory), directory / "demo.qcow2")
            original = guests.define(disk, name="demo", disk_boot=True).start().booted()
            before = stage.newest(original)
            print(f"    It is at block {before}, each one durable before the next begins.")
            with Service(directory / "stillframe", host) as service:
                capture = stage.capture(service)
                after = stage.newest(original)
                image = service.images / f"{capture['id']}.{capture['images'][0]['disk_format']}"
                stage.say("Looking into the image from outside.")
                plain = disks.plain(GuestDisk(image, image.suffix[1:]), directory / "plain.raw")
                found = stage.checked(plain, before, after)
                print(f"    The VM has written on meanwhile, and is at block {after} now.")
                stage.unharmed(original)
                stage.say("A second VM boots from the image.")
                layer = disks.overlay(
                    directory / "second.qcow2", GuestDisk(image, image.suffix[1:])
                )  # the image stays as it is
                stage.goes_on(guests.define(layer, name="second", disk_boot=True).start().booted(), found)
        finally:
            guests.remove()


if __name__ == "__main__":
    sys.exit(stage.perform("demo", _show))
