"""What ends without anybody asking: captures of lost hosts, instances that are gone, old records."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Select, and_, delete, not_, or_, select, update

from stillframe import config
from stillframe.controller import decisions
from stillframe.controller.claims import Claims
from stillframe.controller.database import Database
from stillframe.controller.inventory import ask_again
from stillframe.controller.paging import CHUNK, chunks
from stillframe.controller.schema import AnyRow, captures, hosts, instances, novalocks, reservations, sightings
from stillframe.controller.watch import Watch
from stillframe.errors.capture import HostUnreachable, InstanceGone
from stillframe.errors.service import PublicationUnknown
from stillframe.messaging.contract import AgentApi
from stillframe.model import CaptureStatus

# A commit that was granted cannot be taken back, so a lost host gets this many times longer to tell how it went.
PUBLISHING_PATIENCE = 10

# Seconds: all is done in transactions, which agree when a slow one's claim lapses; a dead controller's is soon over.
CLAIM = 10.0

_MOST_BATCHES = 20  # of old records deleted in one run: the rest can wait for the next

_UNDECIDED = (CaptureStatus.PENDING, CaptureStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What one run changed."""

    hosts_lost: tuple[str, ...] = ()
    captures_ended: tuple[str, ...] = ()
    instances_gone: tuple[str, ...] = ()
    captures_pruned: int = 0


class Reconciler:
    """Runs every few seconds from one thread; of several controllers, who begins a piece of it claims it.

    Waiting is measured with the monotonic clock from the moment this process first saw the thing unchanged, so
    neither a clock that jumps nor a controller that was down makes anything look lost.
    """

    def __init__(
        self,
        db: Database,
        settings: config.Controller,
        agents: AgentApi,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._settings = settings
        self._agents = agents
        self._claims = Claims(db, CLAIM)
        self._silence = Watch(clock)
        self._absence = Watch(clock)

    def run_once(self, now: datetime) -> Reconciled:
        """One look at everything, in bounded batches; `now` is for records and for the age of finished captures."""
        lost, ended = self._lose_hosts(now)
        gone = self._remove_instances(now)
        return Reconciled(lost, ended, gone, self._prune(now))

    def _lose_hosts(self, now: datetime) -> tuple[tuple[str, ...], tuple[str, ...]]:
        rows = self._db.read(lambda connection: connection.execute(select(hosts)).all())
        silence = self._silence.unchanged((row.name, (row.agent_run, row.sequence, row.last_seen)) for row in rows)
        lost: list[str] = []
        ended: list[str] = []
        for row in rows:
            if silence[row.name] < self._settings.host_timeout:
                continue
            lost += self._lose(row)
            ended += self._end_captures(row, silence[row.name], now)
        return tuple(lost), tuple(ended)

    def _lose(self, host: AnyRow) -> list[str]:
        """Notes that the host is lost; its instances go to any host that reports them as well."""
        return [host.name] if not host.lost and self._db.write(_lose, host) else []

    def _end_captures(self, host: AnyRow, silence: float, now: datetime) -> list[str]:
        open_ = select(captures.c.id).where(captures.c.host == host.name, captures.c.status.in_(decisions.OPEN))
        if self._settings.lost_host == "wait":
            open_ = open_.where(captures.c.cancel.is_not(None))  # nobody is there to stop it
        ids = self._db.read(lambda connection: connection.scalars(open_.order_by(captures.c.id)).all())
        patient = silence < self._settings.host_timeout * PUBLISHING_PATIENCE
        ended: list[str] = []
        with self._claimed(f"host:{host.name}", needed=bool(ids)) as mine:
            for some in chunks(ids if mine else ()):
                ended += self._db.write(_end_all_lost, some, host, patient=patient, now=now)
        return ended

    def _remove_instances(self, now: datetime) -> tuple[str, ...]:
        """Instances missing for too long are deleted ones: their captures are stopped first, then they go."""
        missing = select(instances.c.id, instances.c.host, instances.c.missing_since, instances.c.capture_id)
        connected = instances.c.host.not_in(select(hosts.c.name).where(hosts.c.lost))
        missing = missing.where(instances.c.missing_since.is_not(None), connected)
        rows = self._db.read(lambda connection: connection.execute(missing).all())
        absence = self._absence.unchanged((row.id, row.missing_since) for row in rows)
        over = [row for row in rows if absence[row.id] >= self._settings.gone_grace]
        gone: list[str] = []
        with self._claimed("gone", needed=bool(over)) as mine:
            for start in range(0, len(over) if mine else 0, CHUNK):
                told, removed = self._db.write(_remove_all, over[start : start + CHUNK], now)
                gone += removed
                for host in told:
                    self._agents.wake(host)
        return tuple(gone)

    def _prune(self, now: datetime) -> int:
        """Forgets old captures, but neither backups that a rotation still counts nor what holds something outside."""
        c = captures.c
        counted = and_(
            c.kind == "backup",
            c.status == CaptureStatus.COMPLETED,
            not_(c.retired),
            c.instance_id.in_(select(instances.c.id)),
        )
        held = (c.id.in_(select(reservations.c.capture_id)), c.id.in_(select(novalocks.c.capture_id)))
        kept = or_(counted, *held)
        old = select(c.id).where(c.ended_at < now - timedelta(days=self._settings.keep_finished), not_(kept))
        pruned = 0
        any_ = self._db.read(lambda connection: connection.scalar(old.limit(1)))
        with self._claimed("prune", needed=any_ is not None) as mine:
            for _ in range(_MOST_BATCHES if mine else 0):
                some = self._db.write(_delete_some, old)
                pruned += some
                if some < CHUNK:
                    self._claims.forget_old()
                    break
        return pruned

    @contextmanager
    def _claimed(self, name: str, *, needed: bool) -> Iterator[bool]:
        """Whether it is to be done, by us."""
        if not needed:
            yield False
            return
        with self._claims.held(name) as mine:
            yield mine


def _lose(connection: Connection, host: AnyRow) -> bool:
    """False when the host was heard of meanwhile."""
    silent = update(hosts).where(hosts.c.name == host.name, hosts.c.last_seen == host.last_seen)
    if not connection.execute(silent.values(lost=True)).rowcount:
        return False
    own = select(instances.c.id).join(sightings, sightings.c.instance_id == instances.c.id)
    ask_again(connection, connection.scalars(own.where(instances.c.host == host.name)).all())
    return True


def _end_all_lost(
    connection: Connection, ids: Sequence[str], host: AnyRow, *, patient: bool, now: datetime
) -> list[str]:
    """The ids of those that have ended; none once the host was heard of again."""
    if not _is_lost(connection, host):
        return []
    return [id_ for id_ in ids if _end_lost(connection, id_, host, patient=patient, now=now)]


def _remove_all(connection: Connection, rows: Sequence[AnyRow], now: datetime) -> tuple[set[str], list[str]]:
    """The hosts that are to hear of it, and the ids of the instances that are gone now."""
    told = {row.host for row in rows if _stop_capture_of_gone(connection, row, now)}
    return told, [row.id for row in rows if _remove(connection, row)]


def _delete_some(connection: Connection, old: Select[str]) -> int:
    """Deletes at most CHUNK of the captures; how many."""
    ids = connection.scalars(old.limit(CHUNK)).all()
    return connection.execute(delete(captures).where(captures.c.id.in_(ids))).rowcount if ids else 0


def _is_lost(connection: Connection, host: AnyRow) -> bool:
    same = select(hosts.c.lost).where(hosts.c.name == host.name, hosts.c.last_seen == host.last_seen)
    return bool(connection.scalar(same.with_for_update()))


def _end_lost(connection: Connection, capture_id: str, host: AnyRow, *, patient: bool, now: datetime) -> bool:
    row = decisions.row_of(connection, capture_id)
    if row is None or CaptureStatus(row.status).final:
        return False
    if row.status in _UNDECIDED:
        why = HostUnreachable(host=host.name, since=host.last_seen.isoformat(timespec="seconds")).fault
        return decisions.fail(connection, row, why, now)
    if patient:
        return False
    reason = f"host {host.name} was lost while it was publishing"
    return decisions.fail(connection, row, PublicationUnknown(reason=reason).fault, now)


def _stop_capture_of_gone(connection: Connection, instance: AnyRow, now: datetime) -> bool:
    """True when the capture's host is to hear of it."""
    if instance.capture_id is None:
        return False
    why = InstanceGone(instance=instance.id, what="was deleted").fault
    return decisions.cancel(connection, instance.capture_id, why, now)


def _remove(connection: Connection, instance: AnyRow) -> bool:
    """Removes the row, unless the instance came back or a capture still holds it."""
    c = instances.c
    same = delete(instances).where(c.id == instance.id, c.missing_since == instance.missing_since)
    return connection.execute(same.where(c.capture_id.is_(None))).rowcount == 1
