"""SIGKILL of the service in each phase, with a new start and without: the instant goes on, or nothing of it is left."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from lab import captures, disks
from lab.disks import GuestDisk
from lab.domains import Guest
from lab.factory import Guests
from lab.filesystems import mounted
from lab.libvirtd import PrivateLibvirtd
from lab.service import Service
from lab.tools import tool
from lab.wait import until
from tests.real import live_tools as live
from tests.real.conftest import StartService
from tests.real.live_tools import MIB, SLOWLY, Writing

GRACE = {"agent": {"guard_grace": 1}}


@pytest.fixture(scope="module")
def writers(libvirtd: PrivateLibvirtd) -> Iterator[list[Writing]]:
    with live.writing(libvirtd, 2) as made:
        yield made


@pytest.fixture
def writer(writers: list[Writing]) -> Iterator[Writing]:
    yield writers[0]
    writers[0].unharmed()


def killed_and_started(service: Service) -> None:
    service.kill()
    service.start()


def test_killed_while_it_moves_bytes_it_goes_on_from_the_same_instant(
    writer: Writing, service: Service, tmp: Path
) -> None:
    capture = captures.begin(service, writer.guest, bandwidth=SLOWLY)
    before = captures.moving(service, capture)

    killed_and_started(service)

    shown = captures.completed(service, capture)
    assert (shown["captured_at"], shown["attempt"]) == (before["captured_at"], 2)
    assert before["captured_at"] is not None
    resumed = live.step(shown, "resume")
    assert resumed is not None
    assert not resumed["failed"]
    writer.saved(service, shown, tmp / "plain.raw")
    live.tidy(service, writer.guest)


def test_killed_twice_it_still_goes_on_from_the_first_instant(writer: Writing, service: Service, tmp: Path) -> None:
    capture = captures.begin(service, writer.guest, bandwidth=SLOWLY)
    before = captures.moving(service, capture)
    killed_and_started(service)
    captures.moving(service, capture)

    killed_and_started(service)

    shown = captures.completed(service, capture)
    assert (shown["captured_at"], shown["attempt"]) == (before["captured_at"], 3)
    writer.saved(service, shown, tmp / "plain.raw")
    live.tidy(service, writer.guest)


def test_killed_with_one_in_the_queue_both_go_on_in_their_order(
    writers: list[Writing], start_service: StartService, tmp: Path
) -> None:
    service = start_service({"agent": {"max_transfers": 1}})
    first = captures.begin(service, writers[0].guest, bandwidth=SLOWLY)
    before = captures.moving(service, first)
    second = captures.begin(service, writers[1].guest)
    live.in_step(service, second, "plan")

    killed_and_started(service)

    shown = captures.completed(service, first)
    assert shown["captured_at"] == before["captured_at"]
    waited = captures.completed(service, second)
    published = live.step(shown, "publish")
    assert published is not None
    assert waited["captured_at"] > published["ended_at"]
    writers[0].saved(service, shown, tmp / "first.raw")
    writers[1].saved(service, waited, tmp / "second.raw")
    live.tidy(service)
    for each in writers:
        each.unharmed()


def test_killed_while_it_freezes_a_new_start_captures_the_guest(writer: Writing, service: Service, tmp: Path) -> None:
    live.hook_agent(writer.guest, freeze="sleep 3")
    said = len(writer.guest.serial())
    capture = captures.begin(service, writer.guest)
    writer.guest.line("LAB freeze hook", 30, after=said)

    killed_and_started(service)

    shown = captures.completed(service, capture)
    assert shown["attempt"] == 2
    writer.saved(service, shown, tmp / "plain.raw")
    live.tidy(service, writer.guest, deadline=30)


@pytest.mark.faults
def test_a_freeze_that_comes_long_after_the_kill_is_undone(writer: Writing, start_service: StartService) -> None:
    service = start_service({"capture": {"agent_timeout": 1}})
    live.hook_agent(writer.guest, freeze="sleep 9")
    said = len(writer.guest.serial())
    capture = captures.begin(service, writer.guest)
    writer.guest.line("LAB freeze hook", 30, after=said)

    killed_and_started(service)

    assert captures.completed(service, capture)["consistency"] == "crash"
    live.thawed(writer.guest, 30)
    live.tidy(service, writer.guest, deadline=30)


def test_killed_while_it_freezes_and_not_started_the_guard_thaws(writer: Writing, start_service: StartService) -> None:
    service = start_service(GRACE)
    live.hook_agent(writer.guest, freeze="sleep 3")
    said = len(writer.guest.serial())
    capture = captures.begin(service, writer.guest)
    writer.guest.line("LAB freeze hook", 30, after=said)

    service.kill()

    until(lambda: not service.children(), 30, "the guard to have given everything back")
    writer.unharmed()
    service.start()
    captures.completed(service, capture)
    live.tidy(service, writer.guest)


@pytest.mark.parametrize("again", [False, True], ids=["fails", "takes a new instant where that is allowed"])
def test_killed_and_not_started_the_guard_ends_the_backup_and_a_later_start(
    again: bool, writer: Writing, start_service: StartService, libvirtd: PrivateLibvirtd, tmp: Path
) -> None:
    service = start_service(GRACE)
    capture = captures.begin(service, writer.guest, bandwidth=SLOWLY)
    before = captures.moving(service, capture)

    service.kill()

    until(lambda: not service.children(), 30, "the guard to have given everything back")
    assert writer.guest.on_domain(lambda domain: domain.jobInfo()[0]) == 0
    writer.unharmed()
    service.configure(libvirtd, {**GRACE, "capture": {"allow_new_instant": again}})
    service.start()
    if again:
        shown = captures.completed(service, capture)
        assert shown["captured_at"] > before["captured_at"]
        writer.saved(service, shown, tmp / "plain.raw")
    else:
        shown = live.failed(service, capture, "instant-lost")
        assert "backup job" in shown["fault"]["message"]
    live.tidy(service, writer.guest)


def test_killed_while_the_guest_is_paused_for_it_the_guest_goes_on_at_once(writer: Writing, service: Service) -> None:
    capture = captures.begin(service, writer.guest, bandwidth=SLOWLY, cold=True)
    captures.moving(service, capture)
    assert not writer.guest.running

    service.kill()

    until(lambda: writer.guest.running, 5, "the guest to run")
    service.start()
    live.failed(service, capture, "instant-lost")
    live.tidy(service, writer.guest)


def test_killed_and_its_guest_restarted_meanwhile_it_says_so(guests: Guests, service: Service, tmp: Path) -> None:
    guest = guests.define(disks.raw(tmp / "disk", live.SIZE, {"some": b"x" * 4 * MIB}), agent=False).start()
    capture = captures.begin(service, guest, bandwidth=SLOWLY)
    captures.moving(service, capture)
    service.kill()
    guest.destroy()
    guest.start()

    service.start()

    live.failed(service, capture, "instant-lost")
    live.tidy(service)


def test_killed_with_a_stopped_guest_it_goes_on_unless_the_guest_was_started(
    guests: Guests, service: Service, tmp: Path
) -> None:
    stays, starts = (
        guests.define(disks.raw(tmp / name, live.SIZE, {"some": b"x" * 4 * MIB})) for name in ("one", "two")
    )
    first = captures.begin(service, stays, bandwidth=SLOWLY)
    second = captures.begin(service, starts, bandwidth=SLOWLY)
    before = captures.moving(service, first)
    captures.moving(service, second)

    service.kill()
    starts.start()
    service.start()

    live.failed(service, second, "instant-lost")
    shown = captures.completed(service, first)
    assert (shown["captured_at"], shown["attempt"]) == (before["captured_at"], 2)
    live.tidy(service)


@pytest.mark.faults
def test_libvirt_that_is_away_at_the_new_start_is_waited_for(tmp: Path, start_service: StartService) -> None:
    with PrivateLibvirtd(tmp / "host") as host:
        guests = Guests(host, tmp)
        guest = guests.define(disks.raw(tmp / "disk", live.SIZE, {"some": b"x" * 4 * MIB}), agent=False).start()
        service = start_service(host=host)
        capture = captures.begin(service, guest, bandwidth=SLOWLY)
        before = captures.moving(service, capture)
        service.kill()
        host.halt()
        service.launch()
        until(lambda: live.answers(service), 30, "the API to answer")
        host.start()

        shown = captures.completed(service, capture)

        assert shown["captured_at"] == before["captured_at"]
        live.tidy(service)
        service.discard()
        guests.remove()


# ------------------------------------------------------------------------------------------------- publication


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Keeps everybody else from writing to a SQLite database."""
    with closing(sqlite3.connect(database, isolation_level=None, timeout=10)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def frozen(filesystem: Path) -> Iterator[None]:
    """Has everybody wait who would change the filesystem."""
    tool("fsfreeze", "-f", filesystem)
    try:
        yield
    finally:
        tool("fsfreeze", "-u", filesystem)


class Publication:
    """A capture that is about to be published, and the means to hold it up in between."""

    def __init__(self, service: Service, filesystem: Path, guest: Guest, disk: GuestDisk) -> None:
        self.service = service
        self.filesystem = filesystem
        self.disk = disk
        self.held = ExitStack()
        self.capture = captures.begin(service, guest, bandwidth=SLOWLY // 3)
        captures.moving(service, self.capture)
        self.held.enter_context(self.no_decision())
        until(lambda: live.in_journal(service, "kept").get("results"), 30, "commit to be asked for")

    def no_decision(self) -> AbstractContextManager[None]:
        """The controller can decide and record nothing."""
        return locked(self.service.state / "stillframe.sqlite")

    def no_record(self) -> AbstractContextManager[None]:
        """The agent can write nothing down."""
        return locked(self.service.state / "journal.sqlite")

    def grant(self) -> None:
        """Lets the commit through, while the images' filesystem is frozen."""
        self.held.close()
        until(lambda: captures.record(self.service, self.capture)["status"] == "publishing", 30, "the commit")

    def published_after_all(self) -> None:
        """After a new start the image is there, whole, and nothing else is."""
        self.service.start()
        shown = captures.completed(self.service, self.capture)
        assert disks.same(captures.image(self.service, shown, self.disk), self.disk)
        assert self.service.get(f"/image/v2/images/{self.capture}").body["status"] == "active"
        files = {f"{self.capture}.json", f"{self.capture}.raw"}
        assert {path.name for path in self.service.images.glob("*-*")} == files
        live.tidy(self.service)


@pytest.fixture
def publication(guests: Guests, start_service: StartService, tmp: Path) -> Iterator[Publication]:
    with mounted("ext4", tmp / "images", 128 * MIB) as filesystem:
        service = start_service({"images": {"directory": filesystem / "store"}})
        service.images = filesystem / "store"
        disk = disks.raw(tmp / "disk", 16 * MIB, {"some": b"x" * MIB})
        made = Publication(service, filesystem, guests.define(disk), disk)
        with made.held:
            yield made
        service.discard()


def test_killed_when_it_asks_whether_it_may_publish(publication: Publication) -> None:
    publication.service.kill()
    publication.held.close()
    publication.published_after_all()


def test_killed_when_it_was_told_that_it_may_publish(publication: Publication) -> None:
    with frozen(publication.filesystem):
        publication.grant()
        os.kill(publication.service.pid, signal.SIGKILL)  # which ends it when its system call can end
    publication.service.kill()
    publication.published_after_all()


def test_killed_when_the_image_is_visible(publication: Publication) -> None:
    with ExitStack() as held:
        with frozen(publication.filesystem):
            publication.grant()
            held.enter_context(publication.no_record())
        record = publication.service.images / f"{publication.capture}.json"
        until(record.exists, 30, "the image to be visible")
        publication.service.kill()
    publication.published_after_all()


def test_killed_when_its_end_was_not_told_yet(publication: Publication) -> None:
    with ExitStack() as held:
        with frozen(publication.filesystem):
            publication.grant()
            held.enter_context(publication.no_decision())
        until(lambda: live.in_journal(publication.service, "ended"), 30, "the end to be in the journal")
        publication.service.kill()
    publication.published_after_all()
