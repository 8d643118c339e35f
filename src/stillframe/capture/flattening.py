"""Clones made independent of the disks they were made from, after their images were published."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial

from stillframe.datapath.control import Control
from stillframe.disks.ceph import Ceph
from stillframe.disks.rbd import images
from stillframe.disks.rbd.flatten import flatten
from stillframe.errors.base import Reported, StillframeError, fault_of
from stillframe.errors.capture import CaptureCancelled
from stillframe.errors.ceph import BeingGivenBack, RbdMissing
from stillframe.model import RbdPlace

LOG = logging.getLogger(__name__)
AT_ONCE = 2  # more only make each slower, and guests on the same cluster with them
POLL = 0.2  # seconds between two looks whether one who waits its turn was ended
JOIN = 5.0  # seconds that one is waited for when it is to end
Key = tuple[str, str, str]


class _Run:
    """One clone being flattened, in a thread of its own."""

    def __init__(self, control: Control, work: Callable[[Control], None], name: str) -> None:
        self.control = control
        self.error: StillframeError | None = None
        self._work = work
        self._name = name
        self._thread = threading.Thread(target=self._run, name=f"flatten-{name}", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it is still at it."""
        return self._thread.is_alive()

    def told(self) -> str:
        """How far it is, in words."""
        progress = self.control.meter.progress()
        if not progress.total:
            return "It still shares blocks with the disk that it was cloned from, and waits its turn to be flattened."
        percent = 100 * progress.done / progress.total
        return f"It still shares blocks with the disk that it was cloned from; {percent:.0f} % are copied."

    def end(self) -> None:
        """It stops soon; waited for for a while."""
        self.control.cancel(CaptureCancelled())
        self._thread.join(JOIN)

    def _run(self) -> None:
        try:
            self._work(self.control)
        except StillframeError as error:
            self.error = error
        except Exception as error:
            LOG.exception("flattening %s", self._name)
            self.error = Reported(fault_of(error))


class Flattening:
    """A thread for each clone, and a few of them at work. Asked again and again until a clone is flat."""

    def __init__(self, ceph: Ceph, stall: float) -> None:
        """`stall`: seconds without progress after which a flattening fails, to be tried again."""
        self._ceph = ceph
        self._stall = stall
        self._turns = threading.Semaphore(AT_ONCE)
        self._lock = threading.Lock()
        self._runs: dict[Key, _Run] = {}

    def expect_flat(self, place: RbdPlace, fsid: str) -> None:
        """Returns once the image has no parent, or is gone; until then it is being flattened.

        Raises BeingGivenBack with how far that is, or what ended it: then the next call begins anew.
        """
        key = (fsid, place.pool, place.image)
        with self._lock:
            run = self._runs.get(key) or self._begun(key, place, fsid)
            if run.alive:
                raise BeingGivenBack(how=run.told())
            del self._runs[key]
        if run.error is not None:
            raise run.error

    def end(self, place: RbdPlace, fsid: str) -> None:
        """It need not become flat any more; fine when nobody was at it."""
        with self._lock:
            run = self._runs.pop((fsid, place.pool, place.image), None)
        if run is not None:
            run.end()

    def close(self) -> None:
        """Ends all; what is copied stays copied, and the next run of the agent goes on."""
        with self._lock:
            runs = list(self._runs.values())
            self._runs.clear()
        for run in runs:
            run.control.cancel(CaptureCancelled())  # all of them, before the first is waited for
        for run in runs:
            run.end()

    def _begun(self, key: Key, place: RbdPlace, fsid: str) -> _Run:
        control = Control(bandwidth=self._ceph.options.flatten_bandwidth, stall=self._stall)
        run = _Run(control, partial(self._flatten, place, fsid), str(place))
        self._runs[key] = run
        return run

    def _flatten(self, place: RbdPlace, fsid: str, control: Control) -> None:
        while not self._turns.acquire(timeout=POLL):
            control.check()
        try:
            found = self._ceph.at(place, fsid)
            try:
                flatten(found.cluster, found.image, control)
            except RbdMissing:
                if images.listed(found.cluster, found.image, timeout=self._ceph.options.timeout):
                    raise  # it is there, and what it was cloned from is not
                LOG.debug("image %s was removed before it was flat", place)
        finally:
            self._turns.release()
