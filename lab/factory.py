"""Guests for one test: made with a word, all removed at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab.blocks import reports
from lab.disks import GuestDisk
from lab.domains import Guest, GuestSpec
from lab.libvirtd import PrivateLibvirtd
from lab.wait import until


class Guests:
    """Makes guests on `host` whose files lie in `directory`; remove() ends them all."""

    def __init__(self, host: PrivateLibvirtd, directory: Path) -> None:
        self.host = host
        self.directory = directory
        self._made: list[Guest] = []

    def new(self, *disks: GuestDisk, **options: Any) -> Guest:
        """A guest that libvirt does not know yet; options as in GuestSpec."""
        guest = Guest(self.host, GuestSpec(disks=disks, **options), self.directory)
        self._made.append(guest)
        return guest

    def define(self, *disks: GuestDisk, **options: Any) -> Guest:
        """A stopped, persistent guest."""
        return self.new(*disks, **options).define()

    def boot(self, *disks: GuestDisk, **options: Any) -> Guest:
        """A persistent guest that has booted and, unless agent=False, whose agent answers."""
        return self.define(*disks, **options).start().booted()

    def writing(self, *disks: GuestDisk, **options: Any) -> Guest:
        """As boot(), and the writer that its first disk starts (lab.blocks.autorun) has made its first report."""
        guest = self.boot(*disks, **options)
        until(lambda: reports(guest.serial()), 60, f"the writer's first report in {guest.serial_log}")
        return guest

    def remove(self) -> None:
        """Ends and undefines all of them."""
        while self._made:
            self._made.pop().remove()
