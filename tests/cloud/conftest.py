"""A real Keystone and a real Glance for the tests of this directory, and Stillframe beside them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import captures, disks
from lab.ceph import CephCluster
from lab.domains import Guest, NovaMetadata
from lab.factory import Guests
from lab.faulty import Plan
from lab.libvirtd import PrivateLibvirtd
from lab.matrix.lane import Breakable
from lab.openstack.keystone import USERS, User
from lab.openstack.proxy import Proxy
from lab.openstack.stage import Stage
from lab.service import Service
from lab.wait import until
from tests.cloud.scene import Scene
from tests.real.conftest import ceph, guest_files, guests, libvirtd, tmp  # noqa: F401 - fixtures


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Only in make test-cloud. The first test waits for everything: half a minute on an idle machine."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(600))
            item.add_marker(pytest.mark.cloud)


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="sfc-", dir="/tmp"))  # sockets need short paths
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def stage(place: Path, ceph: CephCluster) -> Iterator[Stage]:  # noqa: F811
    with Stage(place / "stage", ceph) as made:
        yield made


@pytest.fixture(scope="session")
def proxy(stage: Stage) -> Iterator[Proxy]:
    """Between Stillframe and Glance."""
    with Proxy(stage.glance.url) as made:
        yield made


@pytest.fixture(scope="session")
def base(stage: Stage) -> str:
    """The id of the image that the guest was made from."""
    image = stage.keystone.connect(USERS[0]).image.create_image(
        name="base", data=b"base" * 1000, disk_format="raw", container_format="bare", visibility="private",
        os_distro="debian", os_type="linux", min_ram=64, cache_in_nova="yes", wait=True,
    )  # fmt: skip
    return str(image.id)


@pytest.fixture(scope="session")
def guest(libvirtd: PrivateLibvirtd, place: Path, stage: Stage, base: str) -> Iterator[Guest]:  # noqa: F811
    """Alice's: of the project red, with 48 MiB that no hole can hide."""
    factory = Guests(libvirtd, place)
    red = NovaMetadata(name="db", project_id=stage.keystone.project_id("red"), image_id=base)
    disk = disks.raw(place / "db.raw", 96 << 20, {"noise": os.urandom(48 << 20)})
    yield factory.boot(disk, name="instance-db", nova=red)
    factory.remove()


@pytest.fixture(scope="session")
def options(stage: Stage, proxy: Proxy) -> dict[str, Any]:
    """Of the service."""
    made: dict[str, Any] = stage.options(endpoint_override=proxy.url, timeout=15, stuck_after=15)
    return made | {"capture": {"transfer_stall": 10, "step_deadline": 20}}


@pytest.fixture(scope="session")
def plan(place: Path) -> Plan:
    """Of what breaks in the service."""
    (place / "plan").mkdir()
    return Plan(place / "plan")


@pytest.fixture(scope="session")
def service(
    libvirtd: PrivateLibvirtd,  # noqa: F811
    place: Path,
    options: dict[str, Any],
    plan: Plan,
    guest: Guest,
) -> Iterator[Service]:
    with Breakable(place / "service", libvirtd, options, place / "plan") as made:
        captures.known(made, guest)
        yield made


@pytest.fixture
def scene(stage: Stage, proxy: Proxy, service: Service, guest: Guest, plan: Plan) -> Iterator[Scene]:
    """Everything at rest before and after; no image is left but the base's."""
    proxy.clear()
    made = Scene(stage, proxy, service, guest, plan)
    yield made
    proxy.clear()
    for capture in service.get("/v2.1/captures?status=pending,running,publishing").body["captures"]:
        service.request("DELETE", f"/v2.1/captures/{capture['id']}")
    until(made.at_rest, 60, "the end of all captures")
    for image in made.images():
        if image.name != "base":
            made.cloud(ADMINISTRATOR).image.delete_image(image.id, ignore_missing=True)


ADMINISTRATOR = User("admin", "admin", "admin")
