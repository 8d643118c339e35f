"""Scratch and image directory on a disk that dies, a quota that is used up, a mount that is read-only or gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab import blocks, captures, disks
from lab.domains import Guest
from lab.factory import Guests
from lab.faultyfs import Faulty, passing
from lab.libvirtd import PrivateLibvirtd
from lab.service import Service
from lab.tools import tool
from lab.wait import until
from tests.real import live_tools as live
from tests.real.capture_checks import ballast
from tests.real.live_tools import MIB, SIZE, SLOTS, SLOWLY, Writing

ENDS = 20.0  # seconds; two on an idle machine
REASONS = {"EIO": "Input/output error", "EDQUOT": "quota", "EROFS": "Read-only file system"}
BOTH = pytest.mark.parametrize("error", ["EIO", "EDQUOT"])
MORE = pytest.mark.faults


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with live.directory() as path:
        yield path


@contextmanager
def busy(host: PrivateLibvirtd, place: Path, policy: str | None) -> Iterator[Writing]:
    """A guest that overwrites 2 MiB of its disk again and again, with something else to copy first."""
    guests = Guests(host, place)
    disk = replace(disks.raw(place / "busy", SIZE, {**blocks.autorun(slots=SLOTS), **ballast()}), error_policy=policy)
    try:
        guest = guests.writing(disk)
        until(lambda: blocks.reports(guest.serial())[-1].last > SLOTS, 60, "the writer to begin again")
        yield Writing(guest, disk)
    finally:
        guests.remove()


@pytest.fixture(scope="module")
def stopped(libvirtd: PrivateLibvirtd, place: Path) -> Iterator[Guest]:
    guests = Guests(libvirtd, place)
    yield guests.define(disks.raw(place / "stopped", 16 * MIB, {"some": b"x" * 3 * MIB}))
    guests.remove()


@pytest.fixture(scope="module")
def filesystems(libvirtd: PrivateLibvirtd, place: Path) -> Iterator[tuple[Faulty, Faulty]]:
    with passing(place / "a", libvirtd) as scratch, passing(place / "b") as store:
        yield scratch, store


@pytest.fixture(scope="module")
def serving(libvirtd: PrivateLibvirtd, filesystems: tuple[Faulty, Faulty]) -> Iterator[Service]:
    scratch, store = (each.where for each in filesystems)
    options = {"capture": {"scratch_dir": scratch / "scratch"}, "images": {"directory": store / "images"}}
    with live.serving(libvirtd, options) as service:
        yield service


@pytest.fixture
def service(serving: Service, filesystems: tuple[Faulty, Faulty]) -> Iterator[Service]:
    yield serving
    for each in filesystems:
        each.heal()
    live.tidy(serving)


@pytest.fixture
def scratch(filesystems: tuple[Faulty, Faulty]) -> Faulty:
    return filesystems[0]


@pytest.fixture
def store(filesystems: tuple[Faulty, Faulty]) -> Faulty:
    return filesystems[1]


def moving(service: Service, guest: Guest) -> str:
    capture = captures.begin(service, guest, bandwidth=SLOWLY)
    captures.moving(service, capture)
    return capture


def failed(service: Service, capture: str, code: str) -> dict[str, Any]:
    """It ended in time, says why and what to do, and there is no image."""
    shown = live.failed(service, capture, code, ENDS)
    assert shown["fault"]["hint"]
    assert service.get(f"/image/v2/images/{capture}").status == 404
    return shown


# -------------------------------------------------------------------------------------------------------- scratch


@pytest.mark.parametrize("error", ["EIO", pytest.param("EDQUOT", marks=MORE)])
def test_scratch_that_refuses_writes_costs_a_guest_that_qemu_stops_nothing(
    error: str, service: Service, scratch: Faulty, libvirtd: PrivateLibvirtd, tmp: Path
) -> None:
    with busy(libvirtd, tmp, "stop") as writing:
        capture = captures.begin(service, writing.guest, bandwidth=SLOWLY)
        captures.reached(service, capture, "transferring")

        scratch.refuse(error, "write", names="*.scratch")

        shown = failed(service, capture, "scratch-failed")
        assert "lost nothing" in shown["fault"]["message"]
        live.tidy(service, writing.guest)
        writing.unharmed()
        scratch.heal()
        captures.capture(service, writing.guest)
        writing.unharmed()


@MORE
@BOTH
def test_scratch_that_refuses_writes_ends_the_capture_of_a_guest_that_qemu_tells(
    error: str, service: Service, scratch: Faulty, libvirtd: PrivateLibvirtd, tmp: Path
) -> None:
    with busy(libvirtd, tmp, None) as writing:
        capture = captures.begin(service, writing.guest, bandwidth=SLOWLY)
        captures.reached(service, capture, "transferring")

        scratch.refuse(error, "write", names="*.scratch")

        shown = failed(service, capture, "error-reported")
        assert "error_policy='stop'" in shown["fault"]["hint"]
        live.tidy(service)
        assert writing.guest.running
        assert writing.guest.on_domain(lambda domain: domain.jobInfo()[0]) == 0


@MORE
@BOTH
def test_scratch_that_cannot_be_made(error: str, service: Service, scratch: Faulty, writer: Writing) -> None:
    scratch.refuse(error, "create")

    shown = failed(service, captures.begin(service, writer.guest), "write-failed")

    assert REASONS[error] in shown["fault"]["message"]
    assert [step["name"] for step in shown["steps"]] == ["plan", "prepare"]
    scratch.heal()
    captures.capture(service, writer.guest)


def test_scratch_on_a_quota_that_is_used_up_is_not_tried_with_a_guest(
    service: Service, scratch: Faulty, writer: Writing
) -> None:
    scratch.refuse("EDQUOT", "fallocate")

    shown = failed(service, captures.begin(service, writer.guest), "scratch-unsafe")

    assert "quota" in shown["fault"]["message"]
    assert [step["name"] for step in shown["steps"]] == ["plan", "prepare"]


# ---------------------------------------------------------------------------------------------------------- store


@pytest.mark.parametrize(
    ("error", "operation", "names"),
    [
        ("EIO", "link", "*.json"),
        ("EDQUOT", "write", "*.part"),
        *(
            pytest.param(error, *refused, marks=MORE)
            for error in ("EIO", "EDQUOT")
            for refused in (("fsync", "*.part"), ("write", "*.json.part"), ("fsyncdir", "images"))
        ),
        pytest.param("EIO", "write", "*.part", marks=MORE),
        pytest.param("EDQUOT", "link", "*.json", marks=MORE),
    ],
)
def test_an_image_directory_that_refuses(
    error: str, operation: str, names: str, service: Service, store: Faulty, stopped: Guest
) -> None:
    store.refuse(error, operation, names=names)

    shown = failed(service, captures.begin(service, stopped), "write-failed")

    assert REASONS[error] in shown["fault"]["message"]
    store.heal()
    live.tidy(service)
    captures.capture(service, stopped)


@pytest.mark.parametrize("error", ["EROFS", pytest.param("EIO", marks=MORE)])
def test_an_image_directory_that_breaks_in_mid_capture(
    error: str, service: Service, store: Faulty, writer: Writing
) -> None:
    capture = moving(service, writer.guest)

    store.refuse(error)

    shown = failed(service, capture, "write-failed")
    assert REASONS[error] in shown["fault"]["message"]
    writer.unharmed()
    assert any("half-written image" in held for held in captures.record(service, capture)["held"])
    store.heal()
    live.tidy(service, writer.guest)
    captures.capture(service, writer.guest)


def test_an_image_directory_that_is_mounted_read_only(service: Service, store: Faulty, writer: Writing) -> None:
    tool("mount", "-o", "remount,ro", store.where)
    try:
        assert "images" in str(service.get("/healthcheck").body)
        shown = failed(service, captures.begin(service, writer.guest), "store-unusable")
    finally:
        tool("mount", "-o", "remount,rw", store.where)

    assert not any(step["name"] == "instant" for step in shown["steps"])
    service.ready()
    live.tidy(service, writer.guest)
    captures.capture(service, writer.guest)


@MORE
def test_an_image_directory_that_is_gone(service: Service, store: Faulty, writer: Writing) -> None:
    away = service.images.rename(store.where / "away")
    assert "images" in str(service.get("/healthcheck").body)
    shown = failed(service, captures.begin(service, writer.guest), "store-unusable")
    assert not any(step["name"] == "instant" for step in shown["steps"])
    away.rename(service.images)

    service.ready()
    live.tidy(service, writer.guest)
    captures.capture(service, writer.guest)


@MORE
def test_an_image_directory_that_goes_in_mid_capture(service: Service, store: Faulty, writer: Writing) -> None:
    capture = moving(service, writer.guest)
    away = service.images.rename(store.where / "away")

    failed(service, capture, "write-failed")

    writer.unharmed()
    away.rename(service.images)
    live.tidy(service, writer.guest)
    captures.capture(service, writer.guest)
