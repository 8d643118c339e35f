"""What a guest writes to its disk never makes Stillframe, or a reader of the image, open a file of the host."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import captures, disks, filesystems
from lab.disks import GuestDisk
from lab.domains import Guest
from lab.factory import Guests
from lab.libvirtd import PrivateLibvirtd
from lab.service import Service
from lab.tools import succeeds, tool
from lab.wait import until
from tests.real.capture_checks import MIB, SIZE, sound
from tests.real.conftest import StartService

SECRET = "/etc/passwd"
BOOT_BLOCK = 1024  # bytes that ext4 leaves alone: a guest whose disk begins with something else lives on


def disguises(tmp: Path) -> dict[str, bytes]:
    """Words that the user is told -> what a guest may write at the beginning of its raw disk."""
    for name, options in {
        "backed": ["-o", "compat=0.10", "-b", SECRET, "-F", "raw"],
        "outsourced": ["-o", f"data_file={tmp / 'data'},data_file_raw=on"],
    }.items():
        tool("qemu-img", "create", "-q", "-f", "qcow2", "-u", *options, tmp / name, str(SIZE))
    descriptor = f'# Disk DescriptorFile\nversion=1\ncreateType="monolithicFlat"\nRW 131072 FLAT "{SECRET}" 0\n'
    return {
        f"a qcow2 header with the backing file {SECRET}": (tmp / "backed").read_bytes()[:BOOT_BLOCK],
        f"a qcow2 header with the data file {tmp / 'data'}": (tmp / "outsourced").read_bytes()[:BOOT_BLOCK],
        f"a VMDK header with the data file {SECRET}": descriptor.encode(),
    }


def disguised(path: Path, head: bytes) -> GuestDisk:
    """A raw disk that begins so."""
    disk = disks.raw(path, SIZE)
    with path.open("r+b") as file:
        file.write(head)
    return disk


def refused(service: Service, guest: Guest, words: str) -> None:
    """A raw capture is refused with these words, the hint's way works, and nothing but that image comes out of it."""
    before = captures.published(service)
    shown = captures.failed(service, captures.begin(service, guest, format="raw"), "unsafe-content")
    assert words in shown["fault"]["message"]
    assert "Capture it as qcow2" in shown["fault"]["hint"]
    assert captures.published(service) == before
    shown = captures.capture(service, guest, format="qcow2")
    made = GuestDisk(service.images / f"{shown['id']}.qcow2", "qcow2")
    assert sound(made)
    assert "filename" not in str(disks.information(made.path, "qcow2").get("format-specific"))
    assert captures.left_behind(service, guest) == []


def test_a_stopped_guests_raw_disk_that_pretends_is_refused(guests: Guests, service: Service, tmp: Path) -> None:
    for number, (words, head) in enumerate(disguises(tmp).items()):
        disk = disguised(tmp / f"disk{number}", head)
        guest = guests.define(disk)
        refused(service, guest, words)
        newest = max(service.images.glob("*.qcow2"), key=os.path.getmtime)
        assert disks.same(GuestDisk(newest, "qcow2"), disk)


def test_a_running_guest_that_writes_itself_a_header_is_refused(guests: Guests, service: Service, tmp: Path) -> None:
    words, head = next(iter(disguises(tmp).items()))
    guest = guests.boot(disks.raw(tmp / "disk", SIZE))
    encoded = base64.b64encode(head.rstrip(b"\0")).decode()
    guest.execute(f"echo {encoded} | base64 -d | dd of=/dev/vda bs=512 conv=notrunc,sync,fsync")
    refused(service, guest, words)


@contextmanager
def xfs(tmp: Path, host: PrivateLibvirtd, guests: Guests) -> Iterator[Path]:
    """A filesystem that can share blocks."""
    with filesystems.mounted("xfs", tmp / "xfs", 400 * MIB, host) as place:
        try:
            yield place
        finally:
            guests.remove()


def test_a_clone_is_looked_at_as_well(
    libvirtd: PrivateLibvirtd, guests: Guests, start_service: StartService, tmp: Path
) -> None:
    words, head = next(iter(disguises(tmp).items()))
    with xfs(tmp, libvirtd, guests) as place:
        service = start_service({"images": {"directory": place / "images"}})
        guest = guests.define(disguised(place / "disk", head))
        refused(service, guest, words)
        guest.start().booted()
        captures.known(service, guest, "ACTIVE")
        refused(service, guest, words)
        shown = captures.ended(service, captures.begin(service, guest))
        assert (shown["source"], shown["transfer"]) == ("reflink", "clone")
        assert shown["fault"]["code"] == "unsafe-content"


def test_internal_snapshots_are_not_published(
    libvirtd: PrivateLibvirtd, guests: Guests, start_service: StartService, tmp: Path
) -> None:
    with xfs(tmp, libvirtd, guests) as place:
        service = start_service({"images": {"directory": place / "images"}})
        disk = disks.qcow2(place / "disk", SIZE)
        tool("qemu-img", "snapshot", "-c", "before", disk.path)
        tool("qemu-io", "-f", "qcow2", "-c", "write -P 1 8M 1M", disk.path)
        guest = guests.define(disk)
        shown = captures.capture(service, guest)
        assert (shown["source"], shown["transfer"]) == ("offline", "directory")
        assert any("internal snapshots" in step["message"] for step in shown["steps"])
        image = captures.image(service, shown, disk)
        assert "snapshots" not in disks.information(image.path, "qcow2")
        assert disks.same(image, disk)
        assert captures.left_behind(service, guest) == []


def test_a_chain_that_cannot_be_told_is_not_guessed(guests: Guests, service: Service, tmp: Path) -> None:
    base = disks.raw(tmp / "base", SIZE)
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={tmp / 'data'}", tmp / "outside", str(SIZE))
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-u", "-o", "compat=1.1", tmp / "unstated", str(SIZE))
    tool("qemu-img", "rebase", "-u", "-f", "qcow2", "-b", base.path, "-F", "raw", tmp / "unstated")
    _forget_backing_format(tmp / "unstated")
    for name, words in {
        "outside": "it keeps its data in a separate file",
        "unstated": "it names a backing file without stating that one's format",
    }.items():
        guest = guests.define(GuestDisk(tmp / name, "qcow2"))
        shown = captures.failed(service, captures.begin(service, guest), "chain-unknown")
        assert words in shown["fault"]["message"]
        assert str(tmp) not in captures.told(shown)
        assert str(tmp / name) in shown["fault"]["operator"]
        assert captures.left_behind(service, guest) == []
    assert captures.published(service) == []


def _forget_backing_format(path: Path) -> None:
    """Makes the header extension that states the backing file's format one that nobody knows."""
    content = bytearray(path.read_bytes()[:4096])
    at = content.index(bytes.fromhex("e2792aca"))
    content[at : at + 4] = b"none"
    with path.open("r+b") as file:
        file.write(content)


@contextmanager
def secret(host: PrivateLibvirtd, value: bytes) -> Iterator[str]:
    """A secret that libvirt knows; its id."""
    connection = host.connect()
    try:
        made = connection.secretDefineXML("<secret ephemeral='yes' private='yes'/>")
        made.setValue(value)
        yield made.UUIDString()
        made.undefine()
    finally:
        connection.close()


def test_an_encrypted_disk_is_saved_in_the_clear_only_if_that_is_allowed(
    libvirtd: PrivateLibvirtd, guests: Guests, service: Service, start_service: StartService, tmp: Path
) -> None:
    (tmp / "key").write_bytes(b"opensesame")
    plain = disks.raw(tmp / "plain", SIZE, {"some": "content"})
    options = ["-o", "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=100"]
    key = ["--object", f"secret,id=key,file={tmp / 'key'}"]
    convert: list[str | Path] = [
        "qemu-img",
        "convert",
        *key,
        "-f",
        "raw",
        "-O",
        "qcow2",
        *options,
        plain.path,
        tmp / "disk",
    ]
    # now and then it is "Unable to get accurate CPU usage", which it wants for the key's derivation
    until(lambda: succeeds(convert), 60, "qemu-img to encrypt a disk")
    with secret(libvirtd, b"opensesame") as identity:
        guest = guests.new(GuestDisk(tmp / "disk", "qcow2"), agent=False)
        luks = f"<encryption format='luks'><secret type='passphrase' uuid='{identity}'/></encryption>"
        source = f'<source file="{tmp / "disk"}"/>'
        assert source in guest.xml
        guest.xml = guest.xml.replace(source, f'<source file="{tmp / "disk"}">{luks}</source>')
        guest.define()
        shown = captures.failed(service, captures.begin(service, guest), "disk-encrypted")
        assert "LUKS" in shown["fault"]["message"]
        service.stop()

        allowing = start_service({"capture": {"allow_decrypted": True}})
        shown = captures.failed(allowing, captures.begin(allowing, guest), "no-way")
        assert "only the domain's own QEMU has the secret" in shown["fault"]["message"]
        guest.start().booted()
        guest.suspend()
        captures.known(allowing, guest, "PAUSED")
        shown = captures.capture(allowing, guest)
        image = captures.image(allowing, shown, plain)
        assert "encrypted" not in disks.information(image.path, image.format)
        assert "content" in _content(image, tmp)
        assert captures.left_behind(allowing, guest) == []
        guests.remove()


def _content(image: GuestDisk, tmp: Path) -> str:
    return tool("debugfs", "-R", "cat /some", disks.plain(image, tmp / "decrypted"))
