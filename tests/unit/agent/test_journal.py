from __future__ import annotations

import sqlite3
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from stillframe.agent.journal import Journal
from stillframe.capture.held import HeldDisk, Hold
from stillframe.capture.kept import Kept
from stillframe.capture.subject import Subject, Wanted
from stillframe.errors.service import JournalFailed
from stillframe.messaging.contract import CaptureReport, Order
from stillframe.model import (
    Consistency,
    Disk,
    Fault,
    ImageRequest,
    Instance,
    Instant,
    Layer,
    Phase,
    PowerState,
    Step,
    VmState,
    Way,
    Wishes,
    now,
)

IMAGE = ImageRequest("c1", "golden", properties={"os_type": "linux"})
DISK = Disk("vda", (Layer("/a", "qcow2"), Layer("/b", "raw")), size=1 << 30)
INSTANCE = Instance("i1", "web", "web", VmState.ACTIVE, PowerState.RUNNING, (DISK,), "vda", run="r")
SUBJECT = Subject("c1", INSTANCE, (Wanted(DISK, IMAGE, "qcow2"),), False, False, False, 0)
HOLD = Hold("backup", Instant(now(), Consistency.FILESYSTEM, 12.5), (HeldDisk(SUBJECT.wanted[0], socket="/s"),), "r")
KEPT = Kept(
    Order("c1", "i1", (IMAGE,), Wishes(trim=True), "req-1"),
    steps=(Step("plan", now(), now() + timedelta(seconds=1), "words"),),
    subject=SUBJECT,
    hold=HOLD,
    way=Way("backup", "directory", ("reflink: no",)),
)


def test_what_was_kept_comes_back_after_a_restart(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    journal.keep(Kept(KEPT.order))
    journal.keep(KEPT)
    number = journal.lease("c1", "OwnFile", '{"path":"/x"}')
    journal.close()
    again = Journal(tmp_path / "journal.sqlite")
    assert again.captures() == [(KEPT, None)]
    assert again.leased("c1") == [(number, "OwnFile", '{"path":"/x"}')]
    again.close()


def test_an_end_is_kept_until_it_is_forgotten(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    journal.keep(KEPT)
    end = CaptureReport("c1", "t", Phase.ENDED, fault=Fault("no-space", "words"))
    journal.ended(end)
    assert journal.captures() == [(KEPT, end)]
    journal.forget("c1")
    assert journal.captures() == []
    journal.close()


def test_leases_whose_capture_is_forgotten_are_found(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    journal.keep(KEPT)
    journal.lease("c1", "OwnFile", "{}")
    journal.lease("c2", "OwnFile", "{}")
    assert journal.strays() == ["c2"]
    journal.close()


def test_nobody_else_may_read_it_and_every_write_is_synced(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    assert stat.S_IMODE((tmp_path / "journal.sqlite").stat().st_mode) == 0o600
    assert journal._read("PRAGMA synchronous", ()) == [(2,)]  # FULL
    journal.close()


def test_a_file_that_is_no_journal_is_refused_with_its_cause(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(JournalFailed) as caught:
        Journal(tmp_path / "journal.sqlite")
    assert "not a database" in caught.value.fault.operator


def test_a_full_disk_takes_the_ballast_first(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    assert (tmp_path / "journal.ballast").stat().st_size > 0
    pages = journal._read("PRAGMA page_count", ())[0][0]
    journal._read(f"PRAGMA max_page_count = {pages}", ())  # SQLite's own way to say: no more room
    with pytest.raises(JournalFailed) as caught:
        for _ in range(1000):
            journal.lease("c1", "OwnFile", "x" * 1000)
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    assert not (tmp_path / "journal.ballast").exists()
    journal.close()
