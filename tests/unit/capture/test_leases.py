from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from stillframe.capture import leases
from stillframe.capture.leases import HalfImage, Lease, Leases, OwnFile, SocketDirectory, decode, encode
from stillframe.capture.rbdleases import DiskSnapshot, ParentLink
from stillframe.capture.tools import Tools
from stillframe.errors.capture import NoSpace
from stillframe.errors.ceph import BeingGivenBack
from stillframe.errors.service import JournalFailed
from stillframe.model import RbdPlace

NO_TOOLS = cast("Tools", None)


class Paper:
    """A ledger that remembers in what order it was written to, and can refuse."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[str, str, str]] = {}
        self.refuses = False
        self._next = 0

    def lease(self, capture_id: str, kind: str, reference: str) -> int:
        self._next += 1
        self.rows[self._next] = (capture_id, kind, reference)
        return self._next

    def leased(self, capture_id: str) -> list[tuple[int, str, str]]:
        return [(number, kind, text) for number, (owner, kind, text) in self.rows.items() if owner == capture_id]

    def returned(self, number: int) -> None:
        if self.refuses:
            raise JournalFailed(what="write")
        del self.rows[number]


@dataclass(frozen=True, slots=True)
class Stubborn:
    """A thing that cannot be given back until `allowed` says so."""

    name: str

    def release(self, tools: Tools) -> None:
        if self.name == "broken":
            raise LookupError("a bug")
        if self.name not in allowed:
            raise NoSpace(what=self.name, needed=1, free=0)
        given_back.append(self.name)

    def __str__(self) -> str:
        return self.name


allowed: set[str] = set()
given_back: list[str] = []


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(leases.KINDS, "Stubborn", Stubborn)
    allowed.clear()
    given_back.clear()


def take(held: Leases, lease: Lease) -> None:
    with held.taking(lease):
        pass


def test_a_lease_is_written_before_it_is_taken_and_removed_after_it_is_given_back(tmp_path: Path) -> None:
    paper = Paper()
    held = Leases("c", paper, NO_TOOLS)
    lease = OwnFile(str(tmp_path / "scratch"))
    take(held, lease)
    assert paper.leased("c") == [(1, *encode(lease))]
    (tmp_path / "scratch").write_bytes(b"x")
    held.give_back(lease)
    assert not (tmp_path / "scratch").exists()
    assert paper.rows == {}


@pytest.mark.parametrize("lease", [OwnFile("/a"), SocketDirectory("/b"), HalfImage("c")])
def test_a_lease_comes_back_from_the_journal_as_it_was(lease: Any) -> None:
    assert decode(*encode(lease)) == lease


def test_giving_back_what_was_never_taken_is_fine(tmp_path: Path) -> None:
    held = Leases("c", Paper(), NO_TOOLS)
    take(held, OwnFile(str(tmp_path / "never")))
    take(held, SocketDirectory(str(tmp_path / "neither")))
    assert held.give_back_all() == ()


def test_everything_is_given_back_newest_first_after_a_restart_too() -> None:
    paper = Paper()
    for name in ("first", "second", "third"):
        take(Leases("c", paper, NO_TOOLS), Stubborn(name))
        allowed.add(name)
    assert Leases("c", paper, NO_TOOLS).give_back_all() == ()
    assert given_back == ["third", "second", "first"]
    assert paper.rows == {}


def test_one_that_cannot_be_given_back_keeps_neither_the_others_nor_itself_from_a_later_try() -> None:
    paper = Paper()
    held = Leases("c", paper, NO_TOOLS)
    for name in ("first", "stuck", "third"):
        take(held, Stubborn(name))
    allowed.update(("first", "third"))
    assert held.give_back_all() == ("stuck: The stuck has too little room: 1 bytes needed, 0 free.",)
    assert given_back == ["third", "first"]
    assert len(paper.rows) == 1
    allowed.add("stuck")
    assert held.give_back_all() == ()
    assert paper.rows == {}


def test_one_whose_release_has_a_bug_does_not_keep_the_others() -> None:
    paper = Paper()
    held = Leases("c", paper, NO_TOOLS)
    take(held, Stubborn("first"))
    take(held, Stubborn("broken"))
    allowed.add("first")
    assert held.give_back_all() == ("broken: An unexpected failure inside Stillframe.",)
    assert given_back == ["first"]


def test_a_journal_that_cannot_be_written_keeps_nothing_from_being_given_back() -> None:
    paper = Paper()
    held = Leases("c", paper, NO_TOOLS)
    take(held, Stubborn("first"))
    take(held, Stubborn("second"))
    allowed.update(("first", "second"))
    paper.refuses = True
    held.give_back_all()
    assert given_back == ["second", "first"]


def test_what_holds_the_instant_can_be_kept_while_the_rest_is_given_back(tmp_path: Path) -> None:
    paper = Paper()
    held = Leases("c", paper, NO_TOOLS)
    take(held, OwnFile(str(tmp_path / "scratch")))
    take(held, SocketDirectory(str(tmp_path / "sockets")))
    assert held.give_back_all(but=(OwnFile,)) == ()
    assert [kind for _, kind, _ in paper.leased("c")] == ["OwnFile"]


def test_another_captures_leases_are_left_alone() -> None:
    paper = Paper()
    take(Leases("a", paper, NO_TOOLS), Stubborn("of a"))
    allowed.add("of a")
    assert Leases("b", paper, NO_TOOLS).give_back_all() == ()
    assert given_back == []


def test_the_snapshot_of_a_disk_waits_for_what_was_cloned_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    place, flat = RbdPlace("vms", "disk", snap="stillframe-i"), list[bool]()

    def link_back(_link: ParentLink, _tools: Tools) -> None:
        if not flat:
            raise BeingGivenBack(how="50 % are copied.")

    monkeypatch.setattr(ParentLink, "release", link_back)
    monkeypatch.setattr(DiskSnapshot, "release", lambda *_: given_back.append("snapshot"))
    held = Leases("c", Paper(), NO_TOOLS)
    take(held, DiskSnapshot(place, "fsid"))
    take(held, ParentLink(RbdPlace("vms", "i"), "fsid", "i"))

    assert len(held.give_back_all()) == 2
    assert given_back == []
    flat.append(True)
    assert held.give_back_all() == ()
    assert given_back == ["snapshot"]
