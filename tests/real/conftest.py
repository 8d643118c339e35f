"""Fixtures of the tests with real guests. Everything of a test lies in its `tmp`, and nothing of it may outlive it."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.ceph import CephCluster
from lab.factory import Guests
from lab.guest import GuestSystem, guest_system
from lab.leaks import leaks
from lab.libvirtd import PrivateLibvirtd
from lab.service import Options, Service
from lab.wait import NotInTime, until
from tests.real import live_tools
from tests.real.live_tools import Writing


@pytest.fixture(scope="session")
def guest_files() -> GuestSystem:
    """The guest's kernel and initramfs."""
    return guest_system()


@pytest.fixture(scope="session")
def libvirtd() -> Iterator[PrivateLibvirtd]:
    """A libvirtd that the tests of this session share; tests that stop or kill one make their own."""
    directory = Path(tempfile.mkdtemp(prefix="sfh-", dir="/tmp"))  # sockets need short paths
    with PrivateLibvirtd(directory) as host:
        yield host
    shutil.rmtree(directory)


def _cluster() -> Iterator[CephCluster]:
    directory = Path(tempfile.mkdtemp(prefix="sfc-", dir="/var/tmp"))  # not in memory: OSDs are large
    with CephCluster(directory / "c") as cluster:
        yield cluster
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def ceph() -> Iterator[CephCluster]:
    """A Ceph cluster that the tests of this session share; tests that break one make their own."""
    yield from _cluster()


@pytest.fixture(scope="session")
def other_ceph() -> Iterator[CephCluster]:
    """Another one, with pools and users of the same names."""
    yield from _cluster()


@pytest.fixture
def tmp() -> Iterator[Path]:
    """A directory with a short name; at the end no process, mount, loop device or socket may refer to it."""
    directory = Path(tempfile.mkdtemp(prefix="sft-", dir="/tmp"))  # sockets need short paths
    directory.chmod(0o755)  # an unprivileged QEMU has to reach its disks
    yield directory
    try:
        until(lambda: not leaks(directory), 5, "the end of what the test used")
    except NotInTime:
        pytest.fail("left behind:\n" + "\n".join(leaks(directory)))
    shutil.rmtree(directory)


@pytest.fixture
def guests(libvirtd: PrivateLibvirtd, tmp: Path) -> Iterator[Guests]:
    """Makes guests on the shared libvirtd; all are removed at the end."""
    made = Guests(libvirtd, tmp)
    yield made
    made.remove()


StartService = Callable[..., Service]


@pytest.fixture
def start_service(libvirtd: PrivateLibvirtd, tmp: Path) -> Iterator[StartService]:
    """Starts services: start_service({"capture": {"trim": True}}, host=another_libvirtd); all are ended."""
    numbers = itertools.count()
    with ExitStack() as services:

        def start(options: Options | None = None, *, host: PrivateLibvirtd | None = None) -> Service:
            service = Service(tmp / f"service{next(numbers) or ''}", host or libvirtd, options)
            services.callback(service.discard)
            service.start()
            return service

        yield start


@pytest.fixture
def service(start_service: StartService) -> Service:
    """A running service with the default options."""
    return start_service()


@pytest.fixture(scope="module")
def shared_writer(libvirtd: PrivateLibvirtd) -> Iterator[Writing]:
    """A guest that writes without pause while the tests of a module last."""
    with live_tools.writing(libvirtd) as made:
        yield made[0]


@pytest.fixture
def writer(shared_writer: Writing) -> Iterator[Writing]:
    """The same, which must not have felt anything of the test."""
    yield shared_writer
    shared_writer.unharmed()
