"""Who goes first on a busy processor: the guests, whose disks the copies only read."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

NICE = 19  # a guest that wakes up goes on at once, and what nobody else wants is ours all the same


@contextmanager
def yielding() -> Iterator[None]:
    """This thread lets others go first in here; afterwards too where the process may not take that back."""
    thread = threading.get_native_id()
    before = os.getpriority(os.PRIO_PROCESS, thread)
    os.setpriority(os.PRIO_PROCESS, thread, NICE)
    try:
        yield
    finally:
        with suppress(PermissionError):  # only root and CAP_SYS_NICE may
            os.setpriority(os.PRIO_PROCESS, thread, before)
