"""Who goes first on a busy processor: the guests, whose disks the copies only read."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress

READING = 10  # who asks for the next bytes does not wait for hash and sink of the last, and may do with less in flight
DRAINING = 19  # a guest that wakes up goes on at once, and what nobody else wants is ours all the same


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


def yield_more(niceness: int) -> None:
    """This thread lets others go first from now on, as any process may do."""
    thread = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, thread, max(niceness, os.getpriority(os.PRIO_PROCESS, thread)))


def half(processors: Set[int]) -> set[int]:
    """Every other one, so that they are spread over sockets and cores; at least one."""
    return set(sorted(processors)[::2])


def _keep_to(thread: int, processors: Set[int]) -> None:
    with suppress(OSError):  # the machine has taken them away meanwhile: where it runs, it runs
        os.sched_setaffinity(thread, processors)
