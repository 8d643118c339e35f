"""The service itself: one a state directory, ending cleanly, and instances that follow libvirt, which may be away."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import libvirt
import pytest

from lab import captures, disks
from lab.domains import Guest
from lab.factory import Guests
from lab.libvirtd import PrivateLibvirtd
from lab.service import STILLFRAME, Service
from lab.wait import until
from tests.real import live_tools as live
from tests.real.conftest import StartService
from tests.real.live_tools import MIB, SLOWLY


def up(config: Path) -> subprocess.CompletedProcess[str]:
    """`stillframe up` that is expected to refuse."""
    return subprocess.run(
        [STILLFRAME, "up", "--config-file", config], capture_output=True, text=True, timeout=60, check=False
    )


def listed(service: Service) -> dict[str, str]:
    """Name and status of each server."""
    answer = service.get("/v2.1/servers/detail")
    assert answer.status == 200
    return {server["name"]: server["status"] for server in answer.body["servers"]}


def shows(service: Service, guest: Guest, status: str | None) -> None:
    until(lambda: listed(service).get(guest.name) == status, 20, f"{guest.name} to be {status}")


def health(service: Service) -> tuple[int, Any]:
    answer = service.get("/healthcheck")
    return answer.status, answer.body


# ------------------------------------------------------------------------------------------------ start and end


def test_a_second_service_on_the_same_state_directory_is_refused(service: Service) -> None:
    refused = up(service.config_file)
    assert refused.returncode != 0
    assert (
        f"The state directory {service.state} is used by another Stillframe, process {service.pid}." in refused.stderr
    )
    assert "Traceback" not in refused.stderr
    assert health(service)[0] == 200


@pytest.mark.parametrize(
    ("group", "option", "value"),
    [("agent", "max_transfers", "many"), ("capture", "snapshot_image_format", "vmdk"), ("api", "auth", "trust")],
)
def test_a_wrong_value_is_named(group: str, option: str, value: str, libvirtd: PrivateLibvirtd, tmp: Path) -> None:
    service = Service(tmp / "service", libvirtd, {group: {option: value}})
    refused = up(service.config_file)
    assert refused.returncode != 0
    assert option in refused.stderr
    assert value in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not service.state.exists()


@pytest.fixture
def stopped(guests: Guests, tmp: Path) -> Guest:
    return guests.define(disks.raw(tmp / "disk", 16 * MIB, {"some": b"x" * 3 * MIB}))


def test_sigterm_lets_captures_end_in_time(guests: Guests, service: Service, stopped: Guest, tmp: Path) -> None:
    shorter = guests.define(disks.raw(tmp / "shorter", 16 * MIB))
    begun = [captures.begin(service, stopped, bandwidth=SLOWLY // 2), captures.begin(service, shorter, bandwidth=MIB)]
    for capture in begun:
        captures.moving(service, capture)

    assert service.stop() == 0

    assert live.kept(service) == []
    assert "Traceback" not in service.log()
    service.start()
    for capture in begun:
        shown = captures.record(service, capture)
        assert (shown["status"], shown["attempt"]) == ("completed", 1)
    live.tidy(service)


def test_sigterm_ends_a_capture_that_takes_longer(guests: Guests, start_service: StartService, tmp: Path) -> None:
    service = start_service({"DEFAULT": {"stop_deadline": 1}})
    guest = guests.define(disks.raw(tmp / "disk", 64 * MIB, {"some": b"x" * 8 * MIB}), agent=False).start()
    capture = captures.begin(service, guest, bandwidth=SLOWLY // 4)
    captures.moving(service, capture)

    began = time.monotonic()
    assert service.stop() == 0

    assert time.monotonic() - began < 10
    assert guest.running
    assert guest.on_domain(lambda domain: domain.jobInfo()[0]) == 0
    assert list((service.state / "scratch").iterdir()) == []
    assert live.kept(service) == []
    service.start()
    live.failed(service, capture, "service-stopped")
    live.tidy(service)


@pytest.mark.faults
def test_sigterm_with_a_guest_that_cannot_be_given_back_ends_all_the_same(
    guests: Guests, start_service: StartService, tmp: Path
) -> None:
    service = start_service({"capture": {"agent_timeout": 1}, "DEFAULT": {"stop_deadline": 5}})
    guest = guests.boot(disks.raw(tmp / "disk", 16 * MIB))
    live.hook_agent(guest, freeze="sleep 9")
    capture = captures.begin(service, guest)
    assert captures.completed(service, capture)["held"]

    began = time.monotonic()
    assert service.stop() == 0

    assert time.monotonic() - began < 5
    assert live.kept(service) != []
    service.start()
    assert captures.record(service, capture)["held"]  # still seen, still tried
    live.thawed(guest, 30)
    live.tidy(service, guest, deadline=30)


# ------------------------------------------------------------------------------------------------------ instances


def test_without_libvirtd_it_serves_and_says_what_is_missing_until_it_comes(tmp: Path) -> None:
    with PrivateLibvirtd(tmp / "host") as host:
        guests = Guests(host, tmp)
        guest = guests.define()
        host.halt()
        service = Service(tmp / "service", host)
        service.launch()
        try:
            until(lambda: live.answers(service), 30, "the API to answer")
            status, body = health(service)
            assert status == 503
            assert "hypervisor" in str(body)
            assert listed(service) == {}

            host.start()
            shows(service, guest, "SHUTOFF")
            assert health(service)[0] == 200

            host.halt()
            until(lambda: health(service)[0] == 503, 20, "the loss to be noticed")
            assert listed(service) == {guest.name: "SHUTOFF"}  # not known is not gone
            host.start()
            until(lambda: health(service)[0] == 200, 20, "the connection to be back")
            guest.start()
            shows(service, guest, "ACTIVE")
        finally:
            service.discard()
            guests.remove()


def test_instances_follow_what_happens_to_them(guests: Guests, start_service: StartService, tmp: Path) -> None:
    service = start_service({"agent": {"heartbeat": 60}, "controller": {"gone_grace": 1}})  # only events are this quick
    guest = guests.new(disks.raw(tmp / "disk", 16 * MIB), agent=False)
    assert guest.name not in listed(service)
    guest.define()
    shows(service, guest, "SHUTOFF")
    guest.start()
    shows(service, guest, "ACTIVE")
    guest.suspend()
    shows(service, guest, "PAUSED")
    guest.resume()
    shows(service, guest, "ACTIVE")
    guest.managed_save()
    shows(service, guest, "SUSPENDED")
    guest.start()
    shows(service, guest, "ACTIVE")
    guest.destroy()
    shows(service, guest, "SHUTOFF")
    guest.on_domain(lambda domain: domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE))
    shows(service, guest, None)
    assert service.get(f"/v2.1/servers/{guest.id}").status == 404


def test_an_instance_that_is_defined_anew_in_time_was_never_gone(service: Service, stopped: Guest) -> None:
    captures.known(service, stopped)
    stopped.on_domain(lambda domain: domain.undefine())
    stopped.define()
    began = time.monotonic()
    while time.monotonic() - began < 2:  # two heartbeats
        assert service.get(f"/v2.1/servers/{stopped.id}").status == 200
    captures.capture(service, stopped)
