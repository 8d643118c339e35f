from __future__ import annotations

import dataclasses
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import disks
from lab.domains import NovaMetadata
from lab.factory import Guests
from lab.libvirtd import UNPRIVILEGED, PrivateLibvirtd
from lab.wait import until
from stillframe.errors.capture import HypervisorUnavailable, InstanceGone
from stillframe.hypervisor import inventory, power
from stillframe.hypervisor.connection import Connection
from stillframe.model import Layer, PowerState, VmState
from tests.real.hypervisor_tools import MIB, Heard, connected


@pytest.fixture
def connection(libvirtd: PrivateLibvirtd) -> Iterator[Connection]:
    with connected(libvirtd.uri) as opened:
        yield opened


def test_a_domain_is_told_in_every_state_and_each_life_of_it_is_another_run(
    connection: Connection, guests: Guests, tmp: Path
) -> None:
    nova = NovaMetadata("shop", image_id="aa11bb22-0000-4000-8000-00000000cafe")
    guest = guests.define(disks.qcow2(tmp / "a.qcow2", 64 * MIB), nova=nova)
    stopped = inventory.instance(connection, guest.id)
    assert (stopped.vm_state, stopped.power_state, stopped.run) == (VmState.STOPPED, PowerState.SHUTDOWN, None)
    assert (stopped.name, stopped.domain, stopped.project_id) == ("shop", guest.name, nova.project_id)
    assert stopped.base_image_id == nova.image_id
    assert stopped.root == "vda"
    assert stopped.disks[0].top == Layer(str(tmp / "a.qcow2"), "qcow2")

    guest.start()
    running = inventory.instance(connection, guest.id)
    assert (running.vm_state, running.disks[0].size) == (VmState.ACTIVE, 64 * MIB)
    assert running.run
    assert "?" not in running.run
    assert running == next(found for found in inventory.inventory(connection) if found.id == guest.id)

    guest.suspend()
    paused = inventory.instance(connection, guest.id)
    assert (paused.vm_state, paused.power_state, paused.run) == (VmState.PAUSED, PowerState.PAUSED, running.run)
    assert power.state(connection, guest.id) == (PowerState.PAUSED, "user")
    guest.resume()

    guest.managed_save()
    saved = inventory.instance(connection, guest.id)
    assert (saved.vm_state, saved.run) == (VmState.SUSPENDED, None)

    guest.start()
    restored = power.run(connection, guest.id)
    assert restored not in (None, running.run)
    guest.destroy()
    assert power.state(connection, guest.id) == (PowerState.SHUTDOWN, "destroyed")


def test_a_domain_that_is_unknown_or_not_running_is_gone(connection: Connection, guests: Guests, tmp: Path) -> None:
    guest = guests.define(disks.raw(tmp / "a.raw", 16 * MIB))
    assert power.suspend(connection, guest.id) is False
    guest.remove()
    with pytest.raises(InstanceGone, match="undefined"):
        inventory.instance(connection, guest.id)
    with pytest.raises(InstanceGone):
        power.run(connection, guest.id)
    assert guest.id not in [found.id for found in inventory.inventory(connection)]


def test_suspend_and_resume_tell_whether_they_did_it(connection: Connection, guests: Guests, tmp: Path) -> None:
    guest = guests.define(disks.raw(tmp / "a.raw", 16 * MIB)).start()
    run = power.run(connection, guest.id)
    assert power.suspend(connection, guest.id)
    assert not power.suspend(connection, guest.id)
    assert not power.resume(connection, guest.id, "another run")
    assert not power.resume_after_io_error(connection, guest.id, str(run))
    assert not guest.running
    assert power.resume(connection, guest.id, run)
    assert guest.running
    assert not power.resume(connection, guest.id, run)


def test_what_happens_to_a_domain_is_told_in_its_order(connection: Connection, guests: Guests, tmp: Path) -> None:
    heard = Heard(connection)
    disk = disks.raw(tmp / "a.raw", 16 * MIB)
    more = disks.raw(tmp / "b.raw", 16 * MIB)
    guest = guests.define(disk)
    guest.start()
    guest.suspend()
    guest.resume()
    device = f"<disk type='file' device='disk'><source file='{more.path}'/><target dev='vdb' bus='virtio'/></disk>"
    guest.on_domain(lambda domain: domain.attachDevice(device))
    until(lambda: "changed" in heard.of(guest), 10, "the disk's event")
    assert [disk.target for disk in inventory.instance(connection, guest.id).disks] == ["vda", "vdb"]
    guest.remove()
    until(lambda: "undefined" in heard.of(guest), 10, "the last event")
    kinds = heard.of(guest)
    assert [kind for kind in kinds if kind != "changed"] == [
        "defined", "resumed", "started", "suspended", "resumed", "stopped", "undefined",
    ]  # fmt: skip


def test_a_subscriber_that_fails_or_left_does_not_keep_events_from_the_others(
    connection: Connection, guests: Guests, tmp: Path
) -> None:
    def fail(_event: object) -> None:
        raise RuntimeError("on purpose")

    connection.subscribe(fail)
    left: list[object] = []
    connection.subscribe(left.append)()
    heard = Heard(connection)
    guest = guests.define(disks.raw(tmp / "a.raw", 16 * MIB))
    guest.remove()
    until(lambda: heard.of(guest) == ["defined", "undefined"], 10, "both events")
    assert left == []


def test_the_user_of_an_unprivileged_qemu_is_told(tmp: Path) -> None:
    with PrivateLibvirtd(tmp / "h", user=UNPRIVILEGED) as host, connected(host.uri) as connection:
        made = Guests(host, tmp)
        guest = made.define(disks.raw(tmp / "a.raw", 16 * MIB))
        assert inventory.qemu_owner(connection, guest.id) is None
        guest.start()
        user = pwd.getpwnam(UNPRIVILEGED)
        assert inventory.qemu_owner(connection, guest.id) == (user.pw_uid, user.pw_gid)
        assert "?" not in str(power.run(connection, guest.id))
        made.remove()


def test_a_lost_libvirtd_is_not_an_empty_host_and_comes_back_by_itself(tmp: Path) -> None:
    with PrivateLibvirtd(tmp / "h") as host, connected(host.uri) as connection:
        made = Guests(host, tmp)
        guest = made.define(disks.raw(tmp / "a.raw", 16 * MIB)).start()
        before = inventory.inventory(connection)
        heard = Heard(connection)

        host.kill()
        until(lambda: "disconnected" in heard.kinds(), 10, "the loss to be noticed")
        assert not connection.alive
        with pytest.raises(HypervisorUnavailable):
            inventory.inventory(connection)
        with pytest.raises(HypervisorUnavailable):
            power.run(connection, guest.id)

        host.start()
        until(lambda: connection.alive, 20, "the connection to come back")
        until(lambda: "connected" in heard.kinds(), 10, "the return to be told")
        assert [_lasting(found) for found in inventory.inventory(connection)] == [_lasting(found) for found in before]
        guest.suspend()
        until(lambda: "suspended" in heard.of(guest), 10, "events to come again")
        made.remove()


def _lasting(instance: object) -> object:
    return dataclasses.replace(instance, disks=())  # type: ignore[type-var]


def test_a_connection_may_be_opened_before_libvirtd_runs(tmp: Path) -> None:
    host = PrivateLibvirtd(tmp / "h")
    with connected(host.uri) as connection:
        assert not connection.alive
        with pytest.raises(HypervisorUnavailable, match="libvirt-sock"):
            connection.handle()
        with host:
            until(lambda: connection.alive, 20, "the connection")
            assert inventory.inventory(connection) == ()
