"""Notices, written in the transaction that they tell of, and told after it: none is lost, and one may be told twice."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from stillframe.controller.claims import Claims
from stillframe.controller.database import Database
from stillframe.controller.schema import AnyRow, instances, notices
from stillframe.messaging.notices import Event, Notice, Notifier
from stillframe.model import Fault

BATCH = 10  # told within a claim's time, however slow the broker is
CLAIM = "notices"


def put(connection: Connection, event: Event, capture: AnyRow, now: datetime, fault: Fault | None = None) -> None:
    """Has an event of this capture told."""
    of = connection.execute(select(instances).where(instances.c.id == capture.instance_id)).one_or_none()
    notice = Notice(
        event=event,
        at=now,
        image_id=capture.id,
        instance_id=capture.instance_id,
        host=capture.host,
        request_id=capture.request_id,
        project_id=capture.project_id,
        user_id=capture.user_id,
        instance=None if of is None else of.document,
        task_state=None if of is None else of.task_state,
        created_at=None if of is None else of.created_at,
        updated_at=None if of is None else of.updated_at,
        fault=fault,
    )
    connection.execute(insert(notices).values(document=notice))


class Outbox:
    """Tells what is in it, oldest first; one controller at a time."""

    def __init__(self, db: Database, notifier: Notifier) -> None:
        self._db = db
        self._notifier = notifier
        self._claims = Claims(db)

    def run_once(self) -> int:
        """Tells all, unless another controller does; how many. What cannot be told now raises, and keeps its place."""
        told = 0
        while (batch := self._next()) and self._claims.take(CLAIM):
            try:
                self._tell(batch)
            finally:
                self._claims.release(CLAIM)
            told += len(batch)
        return told

    def _tell(self, batch: Sequence[AnyRow]) -> None:
        for row in batch:
            self._notifier.tell(row.document)
            self._db.write(Connection.execute, delete(notices).where(notices.c.id == row.id))

    def _next(self) -> Sequence[AnyRow]:
        query = select(notices).order_by(notices.c.id).limit(BATCH)
        return self._db.read(lambda connection: connection.execute(query).all())
