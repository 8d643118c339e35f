"""Who goes first on a busy processor: the guests, whose disks the copies only read."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import threading
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from typing import Final

READING = 10  # who asks for the next bytes does not wait for hash and sink of the last
DRAINING = 19  # a guest that wakes up goes on at once, and what nobody else wants is ours all the same
TURN = 100_000  # nanoseconds before Linux looks who else wants the processor, the least it allows; it gives 1 to 3 ms

SCHED_ATTR: Final = struct.Struct("=IIQiIQQQ")  # of linux/sched/types.h, as it was first
KEEP_POLICY: Final = 0x08
SCHED_SETATTR: Final = {"x86_64": 314, "aarch64": 274, "riscv64": 274, "ppc64le": 355, "s390x": 345}


@contextmanager
def yielding(niceness: int) -> Iterator[None]:
    """This thread lets others go first in here, and keeps off half of its processors; so do threads made in here.

    Afterwards it is as before; its niceness stays where the process may not take that back.
    """
    thread = threading.get_native_id()
    before, processors = os.getpriority(os.PRIO_PROCESS, thread), os.sched_getaffinity(thread)
    yield_more(niceness)
    _keep_to(thread, half(processors))
    try:
        yield
    finally:
        _keep_to(thread, processors)
        with suppress(PermissionError):  # only root and CAP_SYS_NICE may
            os.setpriority(os.PRIO_PROCESS, thread, before)
        _take_turns(thread, 0)


def yield_more(niceness: int) -> None:
    """This thread lets others go first from now on, as any process may do, and looks for them more often."""
    thread = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, thread, max(niceness, os.getpriority(os.PRIO_PROCESS, thread)))
    _take_turns(thread, TURN)


def half(processors: Set[int]) -> set[int]:
    """Every other one, so that they are spread over sockets and cores; the last, since the first has most to do."""
    return set(sorted(processors)[::-2])


def _keep_to(thread: int, processors: Set[int]) -> None:
    with suppress(OSError):  # the machine has taken them away meanwhile: where it runs, it runs
        os.sched_setaffinity(thread, processors)


def _take_turns(thread: int, nanoseconds: int) -> None:
    """How long a turn is on Linux from 6.12 on, 0: as usual; elsewhere nothing changes."""
    number = SCHED_SETATTR.get(platform.machine())
    if number is None:
        return
    niceness = os.getpriority(os.PRIO_PROCESS, thread)
    attributes = SCHED_ATTR.pack(SCHED_ATTR.size, 0, KEEP_POLICY, niceness, 0, nanoseconds, 0, 0)
    ctypes.CDLL(None).syscall(number, thread, attributes, 0)
