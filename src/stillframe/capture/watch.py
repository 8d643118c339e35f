"""Keeping an eye on a hold while its bytes are read."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from stillframe.capture.held import Hold
from stillframe.capture.sources import Source
from stillframe.capture.work import Work
from stillframe.errors.base import Reported, StillframeError, fault_of
from stillframe.errors.capture import HypervisorUnavailable

LOG = logging.getLogger(__name__)
INTERVAL = 0.25  # seconds: how fast scratch can fill is what matters


@contextmanager
def watched(work: Work, source: Source, hold: Hold) -> Iterator[None]:
    """The work is cancelled with the source's own words as soon as the held state is lost or in danger.

    While libvirt cannot be asked nothing is known, and nothing is ended: QEMU goes on serving meanwhile.
    """
    done = threading.Event()

    def watch() -> None:
        while not done.wait(INTERVAL):
            try:
                source.check(work, hold)
            except HypervisorUnavailable:
                LOG.debug("capture %s: libvirt does not answer, the capture goes on", work.capture_id)
            except StillframeError as error:
                work.control.cancel(error)
                return
            except Exception as error:  # noqa: BLE001 - a watch that dies silently would watch nothing
                work.control.cancel(Reported(fault_of(error)))
                return

    thread = threading.Thread(target=watch, name=f"watch-{work.capture_id[:8]}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
