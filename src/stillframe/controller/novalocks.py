"""Locks of Nova's servers, as leases: written before the server is locked, removed once it is not locked by us."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from sqlalchemy import Connection, Select, delete, insert, not_, select, update

from stillframe.controller import decisions
from stillframe.controller.claims import Claims
from stillframe.controller.database import Database
from stillframe.controller.reservations import DOUBT_SECONDS, MAKING_SECONDS
from stillframe.controller.schema import AnyRow, captures, novalocks
from stillframe.controller.watch import Watch
from stillframe.errors.base import StillframeError
from stillframe.errors.capture import InstanceGone
from stillframe.errors.nova import LockNotMade, NovaInterferes, NovaSilent, NovaUnreachable
from stillframe.errors.request import InstanceNotFound
from stillframe.messaging.contract import AgentApi
from stillframe.model import CaptureStatus, Fault
from stillframe.nova.servers import Standing

LOG = logging.getLogger(__name__)

_UNDECIDED = (CaptureStatus.PENDING, CaptureStatus.RUNNING)


class Servers(Protocol):
    """Nova's, as whoever may see and unlock all of them; see NovaServers."""

    def standing(self, server_id: str) -> Standing:
        """Raises InstanceNotFound, and what says that Nova cannot be asked."""

    def unlock(self, server_id: str) -> None:
        """Raises the same."""


def reason(capture_id: str) -> str:
    """What a server is locked with for the time of this capture: by it the lock is known as ours."""
    return f"Stillframe is saving it as image {capture_id}"


def begin(connection: Connection, capture_id: str, instance_id: str) -> None:
    """The server is about to be locked."""
    connection.execute(insert(novalocks).values(capture_id=capture_id, instance_id=instance_id, made=False))


def made(connection: Connection, capture_id: str) -> None:
    """It is locked."""
    connection.execute(update(novalocks).where(novalocks.c.capture_id == capture_id).values(made=True))


def unmade() -> Select[str]:
    """The ids of captures that no agent may begin yet."""
    return select(novalocks.c.capture_id).where(not_(novalocks.c.made))


class NovaLocks:
    """Gives locks back; runs every second from one thread, in one controller at a time."""

    def __init__(self, db: Database, nova: Servers, clock: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._nova = nova
        self._claims = Claims(db)
        self._unmade = Watch(clock)
        self._ended = Watch(clock)

    def run_once(self, now: datetime) -> None:
        """One look at all of them; what cannot be done now is done by a later one."""
        rows = self._db.read(_all)
        self._end_unmade([row for row in rows if not row.made and row.status == CaptureStatus.PENDING], now)
        over = [row for row in rows if CaptureStatus(row.status).final]
        since = self._ended.unchanged((row.capture_id, row.status) for row in over)
        if over:
            with self._claims.held("nova-locks") as mine:
                for row in over if mine else ():
                    self._give_back(row, since[row.capture_id])

    def _end_unmade(self, rows: Sequence[AnyRow], now: datetime) -> None:
        """Whoever accepted them has died before it had locked their servers."""
        waited = self._unmade.unchanged((row.capture_id, row.instance_id) for row in rows)
        for row in rows:
            if waited[row.capture_id] >= MAKING_SECONDS:
                why = LockNotMade(instance=row.instance_id, seconds=MAKING_SECONDS).fault
                self._db.write(decisions.cancel, row.capture_id, why, now)

    def _give_back(self, row: AnyRow, since: float) -> None:
        """A lock that was not answered for may still come about: such a server is looked at for a while."""
        try:
            self._unlock(row)
        except StillframeError as error:
            LOG.warning("server %s could not be unlocked yet: %s", row.instance_id, error)
            return
        if row.made or since >= DOUBT_SECONDS:
            self._db.write(Connection.execute, delete(novalocks).where(novalocks.c.capture_id == row.capture_id))

    def _unlock(self, row: AnyRow) -> None:
        try:
            standing = self._nova.standing(row.instance_id)
            if standing.locked and standing.locked_reason == reason(row.capture_id):
                self._nova.unlock(row.instance_id)
        except InstanceNotFound:
            return  # it was deleted, and its lock with it


class NovaWatch:
    """Gives captures up whose servers Nova needs; runs every few seconds from one thread."""

    def __init__(self, db: Database, nova: Servers, agents: AgentApi) -> None:
        self._db = db
        self._nova = nova
        self._agents = agents
        self._claims = Claims(db)

    def run_once(self, now: datetime) -> None:
        """One look at every server that is being captured. Raises NovaUnreachable, NovaSilent."""
        rows = self._db.read(_undecided)
        if not rows:
            return
        with self._claims.held("nova-watch") as mine:
            for row in rows if mine else ():
                self._look(row, now)

    def _look(self, row: AnyRow, now: datetime) -> None:
        why = self._against(row.instance_id)
        if why is not None and self._db.write(decisions.cancel, row.id, why, now):
            LOG.info("capture %s is given up: %s", row.id, why.message)
            self._agents.wake(row.host)

    def _against(self, instance_id: str) -> Fault | None:
        """What of Nova's doing stands against going on."""
        try:
            task = self._nova.standing(instance_id).task_state
        except InstanceNotFound:
            return InstanceGone(instance=instance_id, what="was deleted in Nova").fault
        except (NovaUnreachable, NovaSilent):
            raise
        except StillframeError as error:
            LOG.warning("server %s could not be looked at: %s", instance_id, error)
            return None
        return None if task is None else NovaInterferes(instance=instance_id, task=task).fault


def _all(connection: Connection) -> Sequence[AnyRow]:
    """Every lock with its capture, which is not forgotten before."""
    query = select(novalocks, captures.c.status)
    return connection.execute(query.join(captures, captures.c.id == novalocks.c.capture_id)).all()


def _undecided(connection: Connection) -> Sequence[AnyRow]:
    """Captures that can still be given up, and were not told so yet."""
    c = captures.c
    query = select(c.id, c.instance_id, c.host).where(c.status.in_(_UNDECIDED), c.cancel.is_(None))
    return connection.execute(query.order_by(c.created_at, c.id)).all()
