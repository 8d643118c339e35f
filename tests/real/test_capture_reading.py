"""How a held disk is read: beside a guest that goes on, and where nobody writes."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from lab import captures, disks
from lab.disks import GuestDisk
from lab.service import Service
from lab.wait import until
from stillframe.capture.held import HeldDisk
from stillframe.capture.subject import Wanted
from stillframe.capture.transfers.reading import reader_of
from stillframe.capture.work import Work
from stillframe.disks import export
from stillframe.disks.chain import inspected
from stillframe.model import Disk, DiskKind, ImageRequest, Layer
from tests.real.live_tools import MIB, SLOWLY, Writing

LATENCY = Path("/dev/cpu_dma_latency")


def wishes(service: Service) -> bool:
    """Whether the service holds the file by which processors are kept from deep sleep."""
    return any(file.is_symlink() and file.readlink() == LATENCY for file in Path(f"/proc/{service.pid}/fd").iterdir())


def disk_of(made: GuestDisk) -> Disk:
    return inspected(Disk(made.target, (Layer(str(made.path), made.format, DiskKind(made.kind)),)))


def work(socket: Path) -> Work:
    made: Any = SimpleNamespace(
        leases=SimpleNamespace(taking=lambda _: nullcontext(), give_back=lambda _: export.end(socket, timeout=10)),
        tools=SimpleNamespace(options=SimpleNamespace(step_deadline=10.0)),
        socket_path=lambda: socket,
    )
    return cast("Work", made)


def test_processors_sleep_lightly_as_long_as_the_disk_of_a_running_guest_is_read(
    service: Service, writer: Writing
) -> None:
    capture = captures.begin(service, writer.guest, bandwidth=SLOWLY)
    captures.moving(service, capture)
    until(lambda: wishes(service), 10, "the wish")
    assert service.request("DELETE", f"/v2.1/captures/{capture}").status == 202
    assert captures.ended(service, capture)["status"] == "cancelled"
    assert not wishes(service)


def test_a_running_guest_has_one_read_of_ours_before_it_and_a_disk_at_rest_is_read_ahead(tmp: Path) -> None:
    disk = disk_of(disks.raw(tmp / "disk", 16 * MIB))
    wanted, socket = Wanted(disk, ImageRequest("image", "image", disk.target), "raw"), tmp / "nbd.sock"
    export.export(disk, socket, disk.target, timeout=10)
    try:
        with reader_of(work(socket), HeldDisk(wanted, socket=str(socket))) as reader:
            assert reader.window == reader.piece
    finally:
        export.end(socket, timeout=10)
    with reader_of(work(socket), HeldDisk(wanted, files=disk)) as reader:
        assert reader.window >= 2 * reader.piece
