"""A real Nova, whose hypervisor is its own fake one, behind Stillframe; libvirt has a guest with its server's id."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import captures, disks
from lab.domains import Guest, NovaMetadata
from lab.factory import Guests
from lab.faulty import Plan
from lab.libvirtd import PrivateLibvirtd
from lab.openstack.nova import Nova, Placement
from lab.openstack.proxy import Proxy
from lab.openstack.stage import Stage
from lab.rabbitmq import RabbitMq
from lab.service import Service
from lab.wait import until
from tests.cloud.clients import Clients
from tests.cloud.conftest import base, place, proxy  # noqa: F401 - fixtures
from tests.cloud.scene import ALICE, Scene
from tests.real.conftest import guest_files, libvirtd  # noqa: F401 - fixtures

FLAVOR = "m1.nano"
RUNNING = "/v2.1/captures?status=pending,running,publishing"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Only in make test-cloud. The first test waits for everything: two minutes on an idle machine."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(900))
            item.add_marker(pytest.mark.cloud)


@pytest.fixture(scope="session")
def stage(place: Path) -> Iterator[Stage]:  # noqa: F811
    with Stage(place / "stage") as made:
        yield made


@pytest.fixture(scope="session")
def nova(stage: Stage, place: Path) -> Iterator[Nova]:  # noqa: F811
    """In the catalogue as `nova`: the compute service there is Stillframe."""
    with RabbitMq(place / "mq") as broker, Placement(place / "placement", stage.db, stage.keystone):
        made = Nova(place / "nova", stage.db, stage.keystone, broker, "nova")
        made.bootstrap()
        with made:
            made.compute().create_flavor(name=FLAVOR, ram=64, vcpus=1, disk=1)
            yield made


@pytest.fixture(scope="session")
def server(nova: Nova, base: str) -> str:  # noqa: F811
    """The id of Alice's server in Nova."""
    compute = nova.compute(ALICE)
    flavor = compute.find_flavor(FLAVOR)
    made = compute.create_server(name="db", image_id=base, flavor_id=flavor.id, networks="none")
    return str(compute.wait_for_server(made, wait=120).id)


@pytest.fixture(scope="session")
def guest(libvirtd: PrivateLibvirtd, place: Path, stage: Stage, server: str, base: str) -> Iterator[Guest]:  # noqa: F811
    guests = Guests(libvirtd, place)
    red = NovaMetadata(name="db", project_id=stage.keystone.project_id("red"), image_id=base)
    disk = disks.raw(place / "db.raw", 96 << 20, {"noise": os.urandom(48 << 20)})
    yield guests.boot(disk, name="instance-db", id=server, nova=red)
    guests.remove()


@pytest.fixture(scope="session")
def service(
    libvirtd: PrivateLibvirtd,  # noqa: F811
    place: Path,  # noqa: F811
    stage: Stage,
    proxy: Proxy,  # noqa: F811
    nova: Nova,
    guest: Guest,
) -> Iterator[Service]:
    options: dict[str, Any] = stage.options(endpoint_override=proxy.url, timeout=15)
    options["nova"] = {"pass_through": True, "coordinate": True, "service_type": "nova", "timeout": 30}
    with Service(place / "service", libvirtd, options) as made:
        captures.known(made, guest)
        yield made


@pytest.fixture
def scene(
    stage: Stage,
    proxy: Proxy,  # noqa: F811
    service: Service,
    nova: Nova,
    guest: Guest,
    place: Path,  # noqa: F811
) -> Iterator[Scene]:
    """Nothing is being captured before and after, and Nova's server is unlocked."""
    made = Scene(stage, proxy, service, guest, Plan(place))  # nothing breaks in it
    yield made
    for capture in service.get(RUNNING).body["captures"]:
        service.request("DELETE", f"/v2.1/captures/{capture['id']}")
    until(made.at_rest, 60, "the end of all captures")
    unlocked(nova, guest.id)


@pytest.fixture
def clients(scene: Scene, tmp_path: Path) -> Clients:
    return Clients(scene.stage.keystone, ALICE, tmp_path)


def unlocked(nova: Nova, server_id: str) -> None:
    """Waits until Nova's server is not locked."""
    until(lambda: not nova.compute().get_server(server_id).is_locked, 30, "Nova's server to be unlocked", pause=0.3)
