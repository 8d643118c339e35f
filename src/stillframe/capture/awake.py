"""Processors that stay awake while a guest waits for us: waking one takes longer than much of what is done then."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

LOG = logging.getLogger(__name__)

_DEVICE = "/dev/cpu_dma_latency"  # Linux's Documentation/power/pm_qos_interface.rst
_DRIVER = Path("/sys/devices/system/cpu/cpuidle/current_driver")
_VIRTUAL = "haltpoll"  # of a virtual machine's processors: a halt goes to the hypervisor, and takes what that takes
_HALT = 10  # microseconds: enough to come back from a halt, from no deeper sleep


@contextmanager
def awake() -> Iterator[None]:
    """Has the whole machine's processors stay awake in here, where that is allowed: root may.

    The wish ends with the open file, so with this process as well.
    """
    with _within(0):
        yield


@contextmanager
def light_sleep() -> Iterator[None]:
    """Has them sleep so lightly in here that a chain of short steps on several of them is not held up by it."""
    with _within(0 if _virtual() else _HALT):
        yield


@contextmanager
def _within(microseconds: int) -> Iterator[None]:
    with ExitStack() as held:
        try:
            wish = os.open(_DEVICE, os.O_WRONLY | os.O_CLOEXEC)
            held.callback(os.close, wish)
            os.write(wish, microseconds.to_bytes(4, sys.byteorder))
        except OSError as error:
            LOG.debug("processors may sleep as they like: %s", error)
        yield


def _virtual() -> bool:
    try:
        return _DRIVER.read_text().strip() == _VIRTUAL
    except OSError:  # there is no such driver
        return False
