from __future__ import annotations

import ctypes
import os
import platform
import threading
from collections.abc import Hashable

import pytest

from stillframe.datapath.allocation import map_of
from stillframe.datapath.control import Control
from stillframe.datapath.copy import copy
from stillframe.datapath.priority import DRAINING, READING, SCHED_ATTR, TURN, half, yield_more, yielding
from stillframe.datapath.raw import raw
from tests.unit.datapath.fakes import MemorySink, PatternReader, nothing


def place() -> tuple[int, frozenset[int]]:
    """Niceness and processors of this thread."""
    thread = threading.get_native_id()
    return os.getpriority(os.PRIO_PROCESS, thread), frozenset(os.sched_getaffinity(thread))


def turn() -> int:
    """Nanoseconds that this thread asked to have a processor for at once; 0 where it never asked."""
    attributes = ctypes.create_string_buffer(SCHED_ATTR.size)
    number = {"x86_64": 315, "aarch64": 275, "riscv64": 275, "ppc64le": 356, "s390x": 346}[platform.machine()]
    assert ctypes.CDLL(None).syscall(number, threading.get_native_id(), attributes, SCHED_ATTR.size, 0) == 0
    return int(SCHED_ATTR.unpack(attributes.raw)[5])


def kernel() -> tuple[int, ...]:
    """Of this machine."""
    return tuple(int(word) for word in platform.release().split("-")[0].split(".")[:2])


class AskingSink(MemorySink):
    """Remembers the places of the threads that wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[int, frozenset[int]]] = set()

    def write(self, offset: int, data: memoryview) -> None:
        self.seen.add(place())
        super().write(offset, data)


class AskingReader(PatternReader):
    """Remembers the places of the threads that read."""

    def __init__(self, size: int) -> None:
        super().__init__(size, [(0, size)])
        self.seen: set[tuple[int, frozenset[int]]] = set()

    def start(self, offset: int, buffer: memoryview) -> Hashable:
        self.seen.add(place())
        return super().start(offset, buffer)


def test_a_copy_lets_guests_go_first_and_its_thread_is_as_before_afterwards() -> None:
    before, sink = place(), AskingSink()
    reader = AskingReader(4 << 20)
    copy(reader, raw(map_of(reader, nothing)), sink, Control(), digests=())
    assert reader.seen == {(READING, frozenset(half(before[1])))}
    assert sink.seen == {(DRAINING, frozenset(half(before[1])))}
    assert place() == before


def test_a_thread_of_a_copy_takes_short_turns_and_usual_ones_afterwards() -> None:
    usual = turn()
    with yielding(READING):
        assert turn() == (TURN if kernel() >= (6, 12) else usual)  # before, Linux knew no such wish
    assert turn() == usual


def test_who_has_stepped_back_further_already_stays_there() -> None:
    seen: list[int] = []

    def stand_back() -> None:
        yield_more(DRAINING)
        yield_more(READING)
        seen.append(place()[0])

    thread = threading.Thread(target=stand_back)
    thread.start()
    thread.join()
    assert seen == [DRAINING]


@pytest.mark.parametrize(
    ("all_of_them", "ours"),
    [({3}, {3}), ({0, 1}, {1}), ({0, 1, 2}, {0, 2}), ({1, 4, 5, 7}, {4, 7}), (set(range(64)), set(range(1, 64, 2)))],
)
def test_every_other_processor_is_left_to_the_guests(all_of_them: set[int], ours: set[int]) -> None:
    assert half(all_of_them) == ours


def test_processors_that_are_gone_are_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: int, processors: set[int]) -> None:
        raise OSError(22, "Invalid argument")

    before = place()
    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    with yielding(READING):
        assert place() == (READING, before[1])
    assert place() == before
