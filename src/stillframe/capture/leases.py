"""What a capture holds and must give back, whatever happens.

A lease is a kind and a reference that suffices to give it back: written before the thing is taken, removed after it is
given back. Giving back is idempotent: it works when the thing was never taken, half taken, or long gone; it proves
that the thing is ours before it touches it.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from stillframe import failpoints, records
from stillframe.capture.rbdleases import UNTIL_FLAT, DiskSnapshot, HalfRbdImage, ParentLink
from stillframe.capture.tools import Tools
from stillframe.disks import export
from stillframe.errors.base import fault_of
from stillframe.errors.capture import GuestAgentTimeout, InstanceGone
from stillframe.errors.ceph import BeingGivenBack
from stillframe.hypervisor import backup, guestagent, power
from stillframe.model import PowerState

LOG = logging.getLogger(__name__)
K = TypeVar("K")


class Lease(Protocol):
    """One thing held: a frozen record that goes to the journal as JSON."""

    def release(self, tools: Tools) -> None:
        """Gives it back; raises StillframeError when that is not possible now."""


@dataclass(frozen=True, slots=True)
class FrozenGuest:
    """The guest's filesystems, frozen through its agent."""

    instance_id: str
    run: str
    key: str  # the guard's name for it

    def release(self, tools: Tools) -> None:
        """Thaws until the guest agent answers: a freeze that timed out may still be executed later.

        While the guard tries that already, the guest agent is not asked twice.
        """
        timeout = tools.options.agent_timeout
        try:
            if power.run(tools.hypervisor, self.instance_id) == self.run:
                if tools.guard.acting(self.key):
                    raise GuestAgentTimeout(instance=self.instance_id, seconds=timeout)
                guestagent.thaw_surely(tools.hypervisor, self.instance_id, timeout, time.monotonic() + timeout)
        except InstanceGone:
            LOG.debug("nothing to thaw: instance %s is gone", self.instance_id)
        tools.guard.disarm(self.key)

    def __str__(self) -> str:
        return f"frozen filesystems of instance {self.instance_id}"


@dataclass(frozen=True, slots=True)
class SuspendedGuest:
    """The guest's processors, stopped by us."""

    instance_id: str
    run: str
    key: str

    def release(self, tools: Tools) -> None:
        """Resumes this run of the domain if it is paused on request; a guest paused otherwise is not ours."""
        try:
            if power.state(tools.hypervisor, self.instance_id) == (PowerState.PAUSED, "user"):
                power.resume(tools.hypervisor, self.instance_id, self.run)
        except InstanceGone:
            LOG.debug("nothing to resume: instance %s is gone", self.instance_id)
        tools.guard.disarm(self.key)

    def __str__(self) -> str:
        return f"suspended instance {self.instance_id}"


@dataclass(frozen=True, slots=True)
class BackupJob:
    """libvirt's pull-mode backup; the socket's random path proves that it is ours."""

    instance_id: str
    run: str
    socket: str
    key: str
    found_running: bool = True  # else the guest was paused before, and a failed write need not have to do with us

    def release(self, tools: Tools) -> None:
        """Aborts the job, then lets a guest go on that was paused because the scratch failed."""
        try:
            backup.abort(tools.hypervisor, self.instance_id, Path(self.socket), tools.options.step_deadline)
            if self.found_running:
                power.resume_after_io_error(tools.hypervisor, self.instance_id, self.run)
        except InstanceGone:
            LOG.debug("no backup job to abort: instance %s is gone", self.instance_id)
        tools.guard.disarm(self.key)

    def __str__(self) -> str:
        return f"backup job of instance {self.instance_id}"


@dataclass(frozen=True, slots=True)
class OwnFile:
    """A scratch file or a reflinked copy; its name holds the capture's id, so nobody else made it."""

    path: str

    def release(self, tools: Tools) -> None:  # noqa: ARG002 - every lease is given the tools
        """Removes the file."""
        Path(self.path).unlink(missing_ok=True)

    def __str__(self) -> str:
        return f"file {self.path}"


@dataclass(frozen=True, slots=True)
class SocketDirectory:
    """A directory of random name with a socket in it."""

    path: str

    def release(self, tools: Tools) -> None:  # noqa: ARG002
        """Removes the directory and what QEMU left in it."""
        shutil.rmtree(self.path, ignore_errors=not Path(self.path).exists())

    def __str__(self) -> str:
        return f"socket directory {self.path}"


@dataclass(frozen=True, slots=True)
class Export:
    """A qemu-nbd process that serves a held disk; the socket on its command line proves that it is ours."""

    socket: str

    def release(self, tools: Tools) -> None:
        """Stops the process, wherever it came from."""
        export.end(Path(self.socket), timeout=tools.options.step_deadline)

    def __str__(self) -> str:
        return f"export on {self.socket}"


@dataclass(frozen=True, slots=True)
class HalfImage:
    """The data of an image that is not published."""

    image_id: str

    def release(self, tools: Tools) -> None:
        """Removes what is there of it; a published image stays."""
        tools.store.discard(self.image_id)

    def __str__(self) -> str:
        return f"half-written image {self.image_id}"


KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        *(FrozenGuest, SuspendedGuest, BackupJob, OwnFile, SocketDirectory, Export, HalfImage),
        *(DiskSnapshot, HalfRbdImage, ParentLink),
    )
}


def encode(lease: Lease) -> tuple[str, str]:
    """Kind and reference, for the journal."""
    return type(lease).__name__, records.dumps(lease)


def decode(kind: str, reference: str) -> Lease:
    """The lease that `encode` wrote."""
    lease: Lease = records.loads(KINDS[kind], reference)
    return lease


class Ledger(Protocol):
    """Where leases are written down; agent/journal.py has the durable one."""

    def lease(self, capture_id: str, kind: str, reference: str) -> int:
        """Writes it durably; the number removes it again."""

    def leased(self, capture_id: str) -> list[tuple[int, str, str]]:
        """Number, kind and reference of all that the capture holds, oldest first."""

    def returned(self, number: int) -> None:
        """It was given back."""


class Leases:
    """All that one capture holds, in the order it was taken."""

    def __init__(self, capture_id: str, ledger: Ledger, tools: Tools, alive: Callable[[], None] = lambda: None) -> None:
        """`alive` is called whenever something was taken or given back: each may take as long as a step."""
        self._capture_id = capture_id
        self._ledger = ledger
        self._tools = tools
        self._alive = alive
        self._held: dict[Lease, int] = {
            decode(kind, reference): number for number, kind, reference in ledger.leased(capture_id)
        }

    @contextmanager
    def taking(self, lease: Lease) -> Iterator[None]:
        """Writes the lease down before the block, which takes the thing; it is held even if the block fails."""
        if lease not in self._held:
            _reached(lease, "journaling")
            self._held[lease] = self._ledger.lease(self._capture_id, *encode(lease))
            _reached(lease, "journaled")
        self._alive()
        yield
        self._alive()
        _reached(lease, "taken")

    def drop(self, lease: Lease) -> None:
        """Forgets a lease whose thing is known to be back, or never taken."""
        number = self._held.pop(lease)
        self._ledger.returned(number)
        _reached(lease, "forgotten")

    @contextmanager
    def giving_back(self, lease: Lease) -> Iterator[None]:
        """The block gives the thing back, and then the lease is forgotten; when it fails it stays held."""
        self._alive()
        _reached(lease, "giving-back")
        yield
        self._alive()
        _reached(lease, "given-back")
        self.drop(lease)

    def give_back(self, lease: Lease) -> None:
        """Gives back one; raises StillframeError when that is not possible now."""
        with self.giving_back(lease):
            lease.release(self._tools)

    def give_back_all(self, *, but: tuple[type[Any], ...] = ()) -> tuple[str, ...]:
        """Gives back everything, newest first; returns what could not be given back now, in words.

        One that fails does not keep the others, but for a disk's snapshot, which waits for what was cloned from it:
        librbd takes a clone's name off its parent before it takes the parent off the clone, and whoever is killed
        between the two leaves a clone that seems to need nothing and cannot be opened without. A journal that cannot
        be written does not keep anything: what it still names is given back once more after a restart, which does no
        harm.
        """
        left = []
        for lease in reversed(self._held.copy()):
            if isinstance(lease, but):
                continue
            if isinstance(lease, DiskSnapshot) and self.of(ParentLink):
                left.append(f"{lease}: {UNTIL_FLAT}")
                continue
            try:
                self.give_back(lease)
            except BeingGivenBack as error:
                left.append(f"{lease}: {error.fault.message}")
            except Exception as error:  # noqa: BLE001 - whatever it is, the others are given back
                LOG.warning("capture %s: %s could not be given back yet: %s", self._capture_id, lease, error)
                left.append(f"{lease}: {fault_of(error).message}")
        return tuple(left)

    def held(self) -> tuple[str, ...]:
        """All that is held, in words; from any thread."""
        return tuple(str(lease) for lease in reversed(self._held.copy()))

    def of(self, kind: type[K]) -> tuple[K, ...]:
        """Those of this kind that are held."""
        return tuple(lease for lease in self._held if isinstance(lease, kind))


def _reached(lease: Lease, moment: str) -> None:
    failpoints.reached(f"lease.{type(lease).__name__}.{moment}")
