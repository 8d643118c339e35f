"""When a backup has begun: as soon as QEMU says so, or libvirt fails; what libvirt fails at later is told as well."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import libvirt
import pytest

from stillframe.errors.capture import HypervisorFailed
from stillframe.hypervisor.backup import Backup

LONG = 10.0


class Domain:
    """A domain whose backup begins when the test says so."""

    def __init__(self) -> None:
        self.asked, self.answer = threading.Event(), threading.Event()
        self.failure: libvirt.libvirtError | None = None

    def jobStats(self, _flags: int) -> dict[str, int]:  # noqa: N802 - libvirt's names
        return {"type": libvirt.VIR_DOMAIN_JOB_NONE}

    def backupBegin(self, _xml: str, _checkpoint: None, _flags: int) -> None:  # noqa: N802
        self.asked.set()
        assert self.answer.wait(LONG)
        if self.failure:
            raise self.failure

    def isActive(self) -> bool:  # noqa: N802
        return True


class Begun:
    """A backup that is being begun on another thread."""

    def __init__(self, domain: Domain, pool: ThreadPoolExecutor) -> None:
        self.backup = Backup(domain, "<domainbackup/>")
        self.begin = pool.submit(self.backup.begin)
        assert domain.asked.wait(LONG)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def test_it_has_begun_when_qemu_says_so_and_not_for_what_it_said_before(pool: ThreadPoolExecutor) -> None:
    domain = Domain()
    before = time.time() - 1
    begun = Begun(domain, pool)
    begun.backup.running(before)
    with pytest.raises(TimeoutError):
        begun.begin.result(0.02)
    begun.backup.running(time.time())
    begun.begin.result(LONG)
    assert not domain.answer.is_set()
    domain.answer.set()
    begun.backup.served()


def test_it_has_begun_when_libvirt_answers_though_qemu_is_not_heard(pool: ThreadPoolExecutor) -> None:
    domain = Domain()
    begun = Begun(domain, pool)
    domain.answer.set()
    begun.begin.result(LONG)
    begun.backup.served()


def test_a_failure_is_told_by_begin_and_one_after_the_instant_when_it_should_be_served(
    pool: ThreadPoolExecutor,
) -> None:
    early, late = Domain(), Domain()
    early.failure = late.failure = libvirt.libvirtError("no room")
    begun = Begun(early, pool)
    early.answer.set()
    with pytest.raises(HypervisorFailed, match="no room"):
        begun.begin.result(LONG)

    begun = Begun(late, pool)
    begun.backup.running(time.time())
    begun.begin.result(LONG)
    late.answer.set()
    with pytest.raises(HypervisorFailed, match="no room"):
        begun.backup.served()


def test_what_never_began_has_nothing_to_serve() -> None:
    Backup(Domain(), "<domainbackup/>").served()
