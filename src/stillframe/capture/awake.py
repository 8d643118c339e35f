"""Processors that stay awake while a guest stands still: waking one takes longer than much of what is done then."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

LOG = logging.getLogger(__name__)

_DEVICE = "/dev/cpu_dma_latency"  # Linux's Documentation/power/pm_qos_interface.rst
_NO_LATENCY = bytes(4)  # microseconds, as an int of the machine


@contextmanager
def awake() -> Iterator[None]:
    """Has the whole machine's processors stay awake in here, where that is allowed: root may.

    The wish ends with the open file, so with this process as well.
    """
    with ExitStack() as held:
        try:
            wish = os.open(_DEVICE, os.O_WRONLY | os.O_CLOEXEC)
            held.callback(os.close, wish)
            os.write(wish, _NO_LATENCY)
        except OSError as error:
            LOG.debug("processors may sleep while guests are frozen: %s", error)
        yield
