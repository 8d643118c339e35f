from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import cast
from unittest import mock

import pytest

from lab.wait import until
from stillframe.agent import guardacts, guardwire
from stillframe.agent.guardwatch import Watches
from stillframe.agent.guardwire import Lines
from stillframe.capture.guarding import REPORTED, Arm, ArmKind
from stillframe.hypervisor.connection import Connection
from stillframe.hypervisor.events import DomainEvent, EventKind

MIB = 1 << 20


def arm(*scratch: Path, cap: int = 0, reserve: int = 0) -> Arm:
    files = tuple(str(path) for path in scratch)
    return Arm("k", ArmKind.ABORT, "i", "r", socket="/s", scratch=files, cap=cap, reserve=reserve)


def test_an_arm_comes_back_as_it_was_and_unknown_keys_are_ignored(tmp_path: Path) -> None:
    sent = arm(tmp_path / "a", cap=5, reserve=7)
    assert guardwire.arm_from_json({**guardwire.arm_to_json(sent), "of_a_later_release": 1}) == sent


@pytest.mark.parametrize("data", [{}, {"kind": "thaw"}, {"kind": "dance", "key": "k"}])
def test_what_is_no_arm_is_refused(data: dict[str, str]) -> None:
    with pytest.raises((TypeError, ValueError)):
        guardwire.arm_from_json(data)


def test_messages_survive_being_cut_and_joined() -> None:
    one, other = socket.socketpair()
    with one, other:
        lines = Lines(other)
        one.sendall(b'{"do":"ar')
        lines.fill()
        assert lines.buffered() is None
        one.sendall(b'med"}\n{"do":"acted","key":"k"}\n[]\n')
        assert lines.receive() == {"do": "armed"}
        assert lines.buffered() == {"do": "acted", "key": "k"}
        with pytest.raises(ValueError, match="object"):
            lines.buffered()
        one.close()
        with pytest.raises(EOFError):
            lines.receive()


def test_scratch_counts_what_was_written_not_what_is_reserved_or_a_hole(tmp_path: Path) -> None:
    reserved, sparse = tmp_path / "reserved", tmp_path / "sparse"
    with reserved.open("wb") as file:
        file.write(bytes(MIB))
        os.fsync(file.fileno())
        subprocess.run(["fallocate", "--keep-size", "--length", str(8 * MIB), reserved], check=True, timeout=10)
    with sparse.open("wb") as file:
        file.truncate(64 * MIB)
    assert guardacts.shortage(arm(reserved, sparse, cap=2 * MIB)) is None
    assert "1048576 bytes of scratch" in (guardacts.shortage(arm(reserved, sparse, cap=MIB)) or "")


def test_a_full_filesystem_is_a_shortage_and_no_scratch_is_none(tmp_path: Path) -> None:
    assert "are to stay free" in (guardacts.shortage(arm(tmp_path / "a", reserve=1 << 60)) or "")
    assert guardacts.shortage(arm(reserve=1 << 60)) is None
    assert guardacts.shortage(arm(tmp_path / "gone" / "a", reserve=1 << 60)) is None


def test_an_error_that_a_guest_was_told_of_ends_its_backup_job_at_once_and_no_other_watch() -> None:
    watches = Watches(cast("Connection", None), grace=60)
    arms = [Arm(f"{kind}-{instance}", kind, instance, "r", seconds=60) for kind in ArmKind for instance in ("i", "j")]
    with (
        mock.patch.object(guardacts, "give_back") as give_back,
        mock.patch.object(guardacts, "paused_by_io_error", return_value=False),
    ):
        for each in arms:
            watches.arm(each)
        watches.heard(DomainEvent(EventKind.IO_REPORTED, "i", "virtio-disk0"))
        until(lambda: len(watches.armed()) < len(arms), 5, "a watch to have acted")
        assert [call.args[1].key for call in give_back.mock_calls] == ["abort-i"]
        for each in arms:
            watches.disarm(each.key)
    assert {each.key: watches.acted(each.key) for each in arms if watches.acted(each.key)} == {"abort-i": REPORTED}
