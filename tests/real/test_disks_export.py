"""Exports of disks that nobody writes: what is read through them, and that a start of the domain goes first."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import nbd
import pytest

from lab import disks
from lab.disks import GuestDisk
from lab.factory import Guests
from lab.tools import tool
from stillframe.disks.chain import inspected
from stillframe.disks.export import end, export
from stillframe.disks.fingerprint import fingerprint
from stillframe.disks.process import alive, children_with
from stillframe.errors.capture import DeadlineExceeded, ReadFailed, ToolFailed
from stillframe.model import Disk, DiskKind, Layer

MIB = 1 << 20
FILES: dict[str, str | bytes | Path] = {"data/text": "written before\n", "data/noise": bytes(range(256)) * 8192}


def disk_of(guest_disk: GuestDisk) -> Disk:
    layer = Layer(str(guest_disk.path), guest_disk.format, DiskKind(guest_disk.kind))
    return inspected(Disk(guest_disk.target, (layer,)))


@contextmanager
def exported(disk: Disk, tmp: Path) -> Iterator[str]:
    socket = tmp / "export.sock"
    export(disk, socket, "vda", timeout=10)
    try:
        yield f"nbd+unix:///vda?socket={socket}"
    finally:
        end(socket, timeout=10)


def make(kind: str, tmp: Path, stack: ExitStack) -> GuestDisk:
    path = tmp / "disk.img"
    if kind == "block":
        return stack.enter_context(disks.loop(disks.raw(path, 32 * MIB, FILES)))
    makers: dict[str, Callable[..., GuestDisk]] = {"raw": disks.raw, "qcow2": disks.qcow2, "chain": disks.chain}
    return makers[kind](path, 32 * MIB, FILES)


@pytest.mark.parametrize("kind", ["raw", "qcow2", "chain", "block"])
def test_an_export_holds_what_the_disk_holds(tmp: Path, kind: str) -> None:
    with ExitStack() as stack:
        guest_disk = make(kind, tmp, stack)
        expected = disks.plain(guest_disk, tmp / "expected")
        before = fingerprint(disk_of(guest_disk))
        with exported(disk_of(guest_disk), tmp) as uri:
            tool("qemu-img", "compare", "-f", "raw", "-F", "raw", expected, uri)
        assert fingerprint(disk_of(guest_disk)) == before
    assert not (tmp / "export.sock").exists()


@pytest.mark.parametrize("kind", ["raw", "qcow2", "chain", "block"])
def test_a_domain_starts_and_writes_while_its_disk_is_exported(tmp: Path, guests: Guests, kind: str) -> None:
    with ExitStack() as stack:
        guest_disk = make(kind, tmp, stack)
        guest = guests.define(guest_disk)
        disk = disk_of(guest_disk)
        before = fingerprint(disk)
        uri = stack.enter_context(exported(disk, tmp))
        reader = nbd.NBD()
        reader.connect_uri(uri)
        reader.pread(65536, 0)
        guest.start().booted()
        guest.execute("echo after > /mnt/data/text; sync")
        reader.pread(65536, 0)
        assert fingerprint(disk) != before
        guest.destroy()
        reader.shutdown()


def test_nothing_can_be_written_through_an_export(tmp: Path) -> None:
    with exported(disk_of(disks.raw(tmp / "disk", 4 * MIB)), tmp) as uri:
        client = nbd.NBD()
        client.connect_uri(uri)
        assert client.is_read_only()


def test_eight_clients_can_read_at_once_and_come_again(tmp: Path) -> None:
    with exported(disk_of(disks.raw(tmp / "disk", 4 * MIB)), tmp) as uri:
        for _ in range(2):
            clients = [nbd.NBD() for _ in range(8)]
            for client in clients:
                client.connect_uri(uri)
            assert len({bytes(client.pread(512, 1024)) for client in clients}) == 1
            for client in clients:
                client.shutdown()


def test_holes_are_told_apart_from_data(tmp: Path) -> None:
    disk = disk_of(disks.overlay(tmp / "top", disks.raw(tmp / "base", 64 * MIB)))
    told: list[int] = []
    with exported(disk, tmp) as uri:
        client = nbd.NBD()
        client.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
        client.connect_uri(uri)
        client.block_status(64 * MIB, 0, lambda _name, _at, entries, _error: told.extend(entries))
    lengths = [length for length, flags in zip(told[::2], told[1::2], strict=True) if flags == 0]
    assert 0 < sum(lengths) < 16 * MIB


def test_ending_an_export_of_another_process_needs_its_socket_only(tmp: Path) -> None:
    disks.raw(tmp / "disk", 4 * MIB)
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from stillframe.disks.export import export\nfrom stillframe.model import Disk, Layer\n"
        f"export(Disk('vda', (Layer('{tmp}/disk', 'raw'),)), Path('{tmp}/s'), 'vda', timeout=10)\n"
        "print('ready', flush=True)\nsys.stdin.read()\n"
    )
    argv = [sys.executable, "-c", program]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        (child,) = children_with(f"--socket={tmp}/s")
        end(tmp / "s", timeout=10)
        assert not alive(child)
        assert not (tmp / "s").exists()
        end(tmp / "s", timeout=10)
        other.kill()


def test_an_image_that_cannot_be_opened_is_an_error_with_qemus_words(tmp: Path) -> None:
    guest_disk = disks.qcow2(tmp / "disk", 4 * MIB)
    disk = disk_of(guest_disk)
    with guest_disk.path.open("r+b") as file:
        file.seek(40)
        file.write(b"\xff" * 8)  # where the L1 table is
    with pytest.raises(ToolFailed) as failed:
        export(disk, tmp / "s", "vda", timeout=10)
    assert "L1" in failed.value.fault.operator
    assert not children_with(f"--socket={tmp}/s")


def test_a_layer_that_vanished_is_an_error(tmp: Path) -> None:
    disk = disk_of(disks.raw(tmp / "disk", 4 * MIB))
    (tmp / "disk").unlink()
    with pytest.raises(ReadFailed):
        export(disk, tmp / "s", "vda", timeout=10)


def test_a_server_that_does_not_come_up_is_ended(tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = disk_of(disks.raw(tmp / "disk", 4 * MIB))
    (tmp / "bin").mkdir()
    (tmp / "bin" / "qemu-nbd").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp / "bin" / "qemu-nbd").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp}/bin:/usr/bin:/bin")
    with pytest.raises(DeadlineExceeded):
        export(disk, tmp / "s", "vda", timeout=0.3)
