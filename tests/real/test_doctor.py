"""`stillframe agent doctor`: what no capture owns is found, told and given back; what one owns is left alone."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from lab import captures, disks
from lab.factory import Guests
from lab.service import Service
from stillframe.disks import export, process
from stillframe.hypervisor.backup import BackupDisk
from stillframe.model import Disk, Layer
from tests.real import live_tools as live
from tests.real.conftest import StartService
from tests.real.hypervisor_tools import begin_of, connected, scratch
from tests.real.live_tools import MIB, SLOWLY

Doctor = Callable[..., dict[str, str]]


def found_on(service: Service, *options: str) -> dict[str, str]:
    """What the command finds, and the state of each."""
    words = ("agent", "doctor", "--config-file", str(service.config_file), "-f", "json", *options)
    return {row["What"]: row["State"] for row in json.loads(service.cli(*words).stdout)}


@pytest.fixture
def doctor(service: Service) -> Doctor:
    """Runs the command for the service that there is."""
    return partial(found_on, service)


def counted(service: Service) -> int:
    text = service.get("/metrics").body.decode()
    found = re.search(r"^stillframe_strays (\d+)", text, re.MULTILINE)
    assert found, text
    return int(found[1])


def test_what_a_capture_holds_is_not_astray(service: Service, guests: Guests, tmp: Path, doctor: Doctor) -> None:
    guest = guests.define(disks.raw(tmp / "disk", live.SIZE, {"some": b"x" * 4 * MIB}), agent=False).start()
    capture = captures.begin(service, guest, bandwidth=SLOWLY)
    captures.moving(service, capture)

    assert doctor("--fix") == {}

    assert counted(service) == 0
    captures.completed(service, capture)
    assert doctor() == {}


def test_what_nobody_owns_is_found_and_given_back(service: Service, guests: Guests, tmp: Path, doctor: Doctor) -> None:
    guest = guests.boot(disks.raw(tmp / "disk", 32 * MIB))
    at_rest = disks.raw(tmp / "rest", 16 * MIB)
    job, served = (service.state / "run" / name for name in ("one", "two"))
    for directory in (job, served):
        directory.mkdir()
    left = service.scratch / f"{uuid.uuid4()}-vda.scratch"
    with connected(guest.host.uri) as connection:
        begin_of(connection, guest, job / "nbd.sock", [BackupDisk("vda", "vda", scratch(left, 32 * MIB))])
    export.export(Disk("vda", (Layer(str(at_rest.path), "raw"),)), served / "nbd.sock", "vda", timeout=10)
    half, copy = str(uuid.uuid4()), service.images / f".{uuid.uuid4()}-vda.held"
    (service.images / f"{half}.part").write_bytes(b"half")
    copy.write_bytes(b"copy")
    (service.images / "notes.txt").write_text("the operator's own")
    expected = {
        f"backup job of instance {guest.id}",
        f"half-written image {half}",
        f"file {left}",
        f"file {copy}",
        f"export on {served}/nbd.sock",
        f"socket directory {job}",
        f"socket directory {served}",
    }

    assert doctor() == dict.fromkeys(expected, "there")
    assert counted(service) == len(expected)
    assert doctor("--fix") == dict.fromkeys(expected, "given back")

    assert doctor() == {}
    assert counted(service) == 0
    assert process.children_with(f"--socket={served}/nbd.sock") == []
    assert guest.on_domain(lambda domain: domain.jobInfo()[0]) == 0
    assert (service.images / "notes.txt").exists()


def test_with_other_hosts_about_what_lies_beside_the_images_is_left_alone(start_service: StartService) -> None:
    service = start_service({"messaging": {"transport_url": "rabbit://nobody:nothing@127.0.0.1:1/none"}})
    half = service.images / f"{uuid.uuid4()}.part"
    half.write_bytes(b"half")

    found = found_on(service, "--fix")

    assert found == {f"half-written image {half.stem}": "left: another host may be making it"}
    assert half.exists()
