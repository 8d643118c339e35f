from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import disks
from lab.factory import Guests
from lab.libvirtd import PrivateLibvirtd
from stillframe.errors.capture import FrozenByOther, GuestAgentTimeout, GuestAgentUnavailable, InstanceGone
from stillframe.hypervisor import guestagent
from stillframe.hypervisor.connection import Connection
from tests.real.hypervisor_tools import MIB, connected, hang_agent, hang_agent_soon


@pytest.fixture
def connection(libvirtd: PrivateLibvirtd) -> Iterator[Connection]:
    with connected(libvirtd.uri) as opened:
        yield opened


def test_a_guest_is_frozen_once_and_thawed_with_the_same_count(
    connection: Connection, guests: Guests, tmp: Path
) -> None:
    guest = guests.boot(disks.raw(tmp / "a.raw", 32 * MIB))
    assert not guestagent.frozen(connection, guest.id, 5)
    assert guestagent.freeze(connection, guest.id, 5).filesystems == 1
    assert guestagent.frozen(connection, guest.id, 5)
    with pytest.raises(FrozenByOther):
        guestagent.freeze(connection, guest.id, 5)
    assert guestagent.frozen(connection, guest.id, 5)
    assert guestagent.thaw(connection, guest.id, 5) == 1
    assert not guestagent.frozen(connection, guest.id, 5)
    assert guestagent.thaw(connection, guest.id, 5) == 0
    guestagent.trim(connection, guest.id, 10)


def test_an_absent_agent_is_told_at_once(connection: Connection, guests: Guests, tmp: Path) -> None:
    without = guests.define(disks.raw(tmp / "a.raw", 32 * MIB), agent=False).start()
    not_yet = guests.define(disks.raw(tmp / "b.raw", 32 * MIB)).start()  # its channel is there, its agent boots
    for guest in (without, not_yet):
        before = time.monotonic()
        with pytest.raises(GuestAgentUnavailable):
            guestagent.freeze(connection, guest.id, 5)
        assert time.monotonic() - before < 2
    without.destroy()
    with pytest.raises(InstanceGone, match="stopped"):
        guestagent.freeze(connection, without.id, 5)


@pytest.mark.faults
def test_a_hung_agent_costs_its_deadline_and_a_late_freeze_is_thawed(
    connection: Connection, guests: Guests, tmp: Path
) -> None:
    guest = guests.boot(disks.raw(tmp / "a.raw", 32 * MIB))
    hang_agent(guest, 12)
    before = time.monotonic()
    with pytest.raises(GuestAgentUnavailable):
        guestagent.freeze(connection, guest.id, 1)
    with pytest.raises(GuestAgentTimeout):
        guestagent.thaw(connection, guest.id, 1)
    assert time.monotonic() - before < 11.5  # libvirt gives each 5 s to be answered at all
    guestagent.thaw_surely(connection, guest.id, 2, time.monotonic() + 30)
    assert not guestagent.frozen(connection, guest.id, 5)
    assert guestagent.freeze(connection, guest.id, 5).filesystems == 1
    assert guestagent.thaw(connection, guest.id, 5) == 1


def test_a_freeze_that_hangs_in_the_guest_is_given_up_and_thawed_when_it_is_through(
    connection: Connection, guests: Guests, tmp: Path
) -> None:
    guest = guests.boot(disks.raw(tmp / "a.raw", 32 * MIB))
    hang_agent_soon(guest, seconds=4, after=0.5)
    outcome: Exception | None = None
    for _ in range(1000):
        try:
            guestagent.freeze(connection, guest.id, 1)
            guestagent.thaw(connection, guest.id, 1)
        except (GuestAgentTimeout, GuestAgentUnavailable) as error:
            outcome = error
            break
    assert outcome is not None
    guestagent.thaw_surely(connection, guest.id, 2, time.monotonic() + 30)
    assert not guestagent.frozen(connection, guest.id, 5)
