"""What the guard watches: one thread an arm, which waits for its cause and then acts until it is done."""

from __future__ import annotations

import logging
import threading
import time

from stillframe.agent import guardacts
from stillframe.capture.guarding import REPORTED, Arm, ArmKind
from stillframe.errors.base import StillframeError
from stillframe.errors.capture import InstanceGone
from stillframe.hypervisor import runs
from stillframe.hypervisor.connection import Connection
from stillframe.hypervisor.events import IO_ERROR, DomainEvent, EventKind

LOG = logging.getLogger(__name__)

_SCRATCH_SECONDS = 0.25  # between looks at scratch: a fast guest fills half of the default reserve in that time
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_REMEMBERED = 1000  # keys that were acted on


class Watches:
    """All that is armed, what was acted on, and whether the agent lives. Safe from any thread."""

    def __init__(self, connection: Connection, grace: float) -> None:
        self.connection = connection
        self.grace = grace
        self.agent_gone_since: float | None = None
        self._lock = threading.Lock()
        self._watches: dict[str, Watch] = {}
        self._acted: dict[str, str] = {}

    def arm(self, arm: Arm) -> None:
        """Watches; in place of what was armed with this key."""
        watch = Watch(arm, self)
        with self._lock:
            replaced = self._watches.get(arm.key)
            self._watches[arm.key] = watch
            self._acted.pop(arm.key, None)
        if replaced:
            replaced.stop()
        watch.start()

    def disarm(self, key: str) -> bool:
        """Ends the watch, or the tries to act; False when it has acted, or was never armed."""
        with self._lock:
            watch = self._watches.pop(key, None)
            kept = watch is not None and key not in self._acted
        if watch:
            watch.stop()
        return kept

    def armed(self) -> tuple[Arm, ...]:
        """What is watched, or not yet given back."""
        with self._lock:
            return tuple(watch.arm for watch in self._watches.values())

    def acted(self, key: str) -> str | None:
        """Why this key was acted on, in words."""
        return self._acted.get(key)

    def agent_is(self, *, present: bool) -> None:
        """Takes note that the agent is here, or has gone now."""
        self.agent_gone_since = None if present else time.monotonic()
        self.poke()

    def poke(self) -> None:
        """Has every watch look for its cause now."""
        with self._lock:
            watches = tuple(self._watches.values())
        for watch in watches:
            watch.poke()

    def heard(self, event: DomainEvent) -> None:
        """Subscriber of the connection: a guest that was paused or told of an error, perhaps unseen in between."""
        with self._lock:
            watches = tuple(self._watches.values())
        for watch in watches:
            if event.kind is EventKind.IO_REPORTED and event.instance_id == watch.arm.instance_id:
                watch.guest_was_told()
            paused = event.kind is EventKind.SUSPENDED and event.detail == IO_ERROR
            if event.kind is EventKind.CONNECTED or (paused and event.instance_id == watch.arm.instance_id):
                watch.look_at_guest()

    def begins(self, watch: Watch, cause: str) -> bool:
        """Marks the watch as acting; False when it was disarmed or replaced before."""
        with self._lock:
            if self._watches.get(watch.arm.key) is not watch:
                return False
            self._acted[watch.arm.key] = cause
            while len(self._acted) > _REMEMBERED:
                del self._acted[next(iter(self._acted))]
            return True

    def ended(self, watch: Watch) -> None:
        """Forgets a watch that has nothing left to do."""
        with self._lock:
            if self._watches.get(watch.arm.key) is watch:
                del self._watches[watch.arm.key]


class Watch:
    """One arm being watched."""

    def __init__(self, arm: Arm, watches: Watches) -> None:
        self.arm = arm
        self._watches = watches
        self._deadline = None if arm.seconds is None else time.monotonic() + arm.seconds
        self._stopped = threading.Event()
        self._wake = threading.Event()
        self._guest_unseen = arm.kind is ArmKind.ABORT
        self._told = False
        self._was_paused: bool | None = None  # by an I/O error, when it was armed; None: not known yet
        self._thread = threading.Thread(target=self._run, name=f"watch-{arm.key}", daemon=True)

    def start(self) -> None:
        """Begins to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the watch soon; an act under way may still be done."""
        self._stopped.set()
        self._wake.set()

    def poke(self) -> None:
        """Looks for the cause now."""
        self._wake.set()

    def guest_was_told(self) -> None:
        """Each write that scratch refuses is one more that the guest has lost: no time for a second."""
        self._told = self.arm.kind is ArmKind.ABORT
        self._wake.set()

    def look_at_guest(self) -> None:
        """Asks libvirt now whether the guest was paused."""
        self._guest_unseen = self.arm.kind is ArmKind.ABORT
        self._wake.set()

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                self._wake.clear()
                cause = self._cause()
                if cause and self._watches.begins(self, cause):
                    LOG.warning("%s of %s: acting, since %s", self.arm.key, self.arm.instance_id, cause)
                    self._act()
                    return
                self._wake.wait(self._pause())
        finally:
            self._watches.ended(self)

    def _pause(self) -> float | None:
        if self.arm.kind is ArmKind.ABORT:
            return _SCRATCH_SECONDS
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _cause(self) -> str | None:
        """Why it has to act now, in words; None as long as it has not."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return f"its {self.arm.seconds:g} seconds are over"
        gone = self._watches.agent_gone_since
        grace = self._watches.grace if self.arm.kind is ArmKind.ABORT else 0.0
        if gone is not None and (time.monotonic() - gone >= grace or runs.ended(self.arm.run)):
            return "the agent is gone"
        if self._told:
            return REPORTED
        return guardacts.shortage(self.arm) or self._pause_of_guest()

    def _pause_of_guest(self) -> str | None:
        if not self._guest_unseen:
            return None
        self._guest_unseen = False
        try:
            paused = guardacts.paused_by_io_error(self._watches.connection, self.arm)
        except StillframeError as error:
            LOG.info("%s: the guest cannot be looked at: %s", self.arm.key, error)
            return None  # libvirt is asked again when it is connected again
        if self._was_paused is None:
            self._was_paused = paused
            return None
        return "libvirt paused the guest for an I/O error" if paused and not self._was_paused else None

    def _act(self) -> None:
        pause, told = _FIRST_PAUSE, ""
        while not self._stopped.is_set():
            try:
                guardacts.give_back(self._watches.connection, self.arm, was_paused=bool(self._was_paused))
            except InstanceGone as error:
                LOG.warning("%s: nothing is left to give back: %s", self.arm.key, error)
                return
            except StillframeError as error:
                if str(error) != told:
                    LOG.warning("%s: not given back yet, trying again: %s", self.arm.key, error)
                told = str(error)
            else:
                LOG.warning("%s: given back", self.arm.key)
                return
            self._stopped.wait(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
