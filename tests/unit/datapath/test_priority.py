from __future__ import annotations

import os
import threading

from stillframe.datapath.allocation import map_of
from stillframe.datapath.control import Control
from stillframe.datapath.copy import copy
from stillframe.datapath.priority import NICE
from stillframe.datapath.raw import raw
from tests.unit.datapath.fakes import MemorySink, PatternReader, nothing


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


class AskingSink(MemorySink):
    """Remembers how nice the thread was that wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[int] = set()

    def write(self, offset: int, data: memoryview) -> None:
        self.seen.add(niceness())
        super().write(offset, data)


def test_a_copy_lets_guests_go_first_and_its_thread_is_as_before_afterwards() -> None:
    before, sink = niceness(), AskingSink()
    reader = PatternReader(4 << 20, [(0, 4 << 20)])
    copy(reader, raw(map_of(reader, nothing)), sink, Control(), digests=())
    assert sink.seen == {NICE}
    assert niceness() == before
