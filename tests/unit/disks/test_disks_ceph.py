"""As whom a disk's cluster is reached: as its domain does, and as configured where libvirt tells no key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stillframe import config
from stillframe.config import CephCluster
from stillframe.disks import ceph
from stillframe.disks.ceph import Ceph
from stillframe.disks.rbd.cluster import Clusters
from stillframe.disks.rbd.names import Endpoint, RbdImage
from stillframe.errors.base import StillframeError
from stillframe.errors.capture import HypervisorFailed, HypervisorUnavailable
from stillframe.errors.ceph import WrongCluster
from stillframe.hypervisor import secrets
from stillframe.hypervisor.connection import Connection
from stillframe.model import RbdPlace

PLACE = RbdPlace("vms", "disk", ("10.0.0.1:6789",), "nova", "457eb676-33da-42ec-9a8c-9293d545c337")
WEST = CephCluster("west", ("10.0.0.1", "10.0.0.2"), None, "stillframe", Path("/etc/stillframe/west.keyring"))


class Known:
    """Clusters that are never connected to."""

    def __init__(self) -> None:
        self.opened: list[Endpoint] = []

    def open(self, endpoint: Endpoint) -> Any:
        self.opened.append(endpoint)
        return SimpleNamespace(fsid="f", image=lambda pool, image: RbdImage("f", pool, image))


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> list[StillframeError]:
    """What libvirt says in place of the key."""
    said: list[StillframeError] = []

    def key(_: Connection, number: str) -> str:
        if said:
            raise said[-1]
        return f"key of {number}"

    monkeypatch.setattr(secrets, "ceph_key", key)
    return said


def made(known: Known, *configured: CephCluster) -> Ceph:
    options = replace(config.load(files=[]).ceph, clusters=("west",))
    return Ceph(cast("Clusters", known), cast("Connection", None), options, configured)


def test_a_disk_is_reached_as_its_domain_reaches_it(known: Known, secret: list[StillframeError]) -> None:
    found = made(known, WEST).at(replace(PLACE, snap="s"))
    assert (found.image, found.snap) == (RbdImage("f", "vms", "disk"), "s")
    assert known.opened == [Endpoint(PLACE.monitors, "nova", f"key of {PLACE.secret}")]


@pytest.mark.parametrize("asked", [PLACE, replace(PLACE, secret=None)], ids=["no such secret", "none named"])
def test_where_libvirt_tells_no_key_it_is_reached_as_configured(
    asked: RbdPlace, known: Known, secret: list[StillframeError]
) -> None:
    secret.append(HypervisorFailed(what="tell the value of a secret"))
    made(known, WEST).at(asked)
    assert known.opened == [Endpoint(WEST.monitors, "stillframe", None, None, WEST.keyring)]


def test_nobody_configured_for_these_monitors_is_an_error(known: Known, secret: list[StillframeError]) -> None:
    secret.append(HypervisorFailed(what="tell the value of a secret"))
    with pytest.raises(HypervisorFailed):
        made(known, replace(WEST, monitors=("10.0.0.1:3300", "10.9.9.9"))).at(PLACE)


def test_a_disk_that_names_no_monitor_is_reached_by_the_hosts_own_configuration(
    known: Known, secret: list[StillframeError]
) -> None:
    made(known).at(RbdPlace("vms", "disk", user="nova"))
    assert known.opened == [Endpoint((), "nova", None, ceph.DEFAULT_CONF)]


def test_a_libvirt_that_is_away_does_not_cut_off_what_was_reached_before(
    known: Known, secret: list[StillframeError]
) -> None:
    clusters = made(known)
    clusters.at(PLACE)
    secret.append(HypervisorUnavailable())
    assert clusters.at(replace(PLACE, image="other")).image.image == "other"
    with pytest.raises(HypervisorUnavailable):
        clusters.at(replace(PLACE, user="cinder"))


def test_another_cluster_at_the_same_address_is_not_touched(known: Known, secret: list[StillframeError]) -> None:
    with pytest.raises(WrongCluster):
        made(known).at(PLACE, "another")


@pytest.mark.parametrize(
    "written", ["10.0.0.1", "10.0.0.1:6789", "[v2:10.0.0.1:3300,v1:10.0.0.1:6789]", "v1:10.0.0.1:6789"]
)
def test_monitors_are_the_same_however_they_are_written(
    written: str, known: Known, secret: list[StillframeError]
) -> None:
    made(known, replace(WEST, monitors=(written,))).at(replace(PLACE, secret=None))
    assert known.opened[0].user == "stillframe"
