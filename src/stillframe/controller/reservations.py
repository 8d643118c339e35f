"""What is made outside for captures, as leases: written before it is made, removed once it is the user's or gone.

Records of images, and the snapshots that Cinder took for them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import Connection, Select, delete, insert, not_, select, update

from stillframe.controller import decisions, volumesets
from stillframe.controller.database import Database
from stillframe.controller.paging import chunks
from stillframe.controller.schema import AnyRow, captures, reservations, volume_sets
from stillframe.controller.watch import Watch
from stillframe.errors.base import StillframeError
from stillframe.errors.glance import ImageDeleted, ImageNotReserved
from stillframe.errors.service import PublicationUnknown
from stillframe.messaging.contract import AgentApi
from stillframe.model import CaptureStatus

LOG = logging.getLogger(__name__)
MAKING_SECONDS = 90.0  # that making the records of a capture may take: after that, who was to make them is dead
DOUBT_SECONDS = 180.0  # in which a record may still come about whose making was not answered

BUSY = ("creating", "deleting")  # snapshots that are to be looked at again

_UNDECIDED = (CaptureStatus.PENDING, CaptureStatus.RUNNING)


class Shelf(Protocol):
    """Where the images are, as whoever may see and delete all of them."""

    def present(self, image_ids: Sequence[str]) -> Set[str]:
        """Those that are there, with or without their data."""

    def finished(self, image_id: str) -> bool:
        """Whether it is there with its data."""

    def delete(self, image_id: str) -> None:
        """One that is gone is fine."""


class Snapshots(Protocol):
    """Cinder, as whoever may see and delete everybody's snapshots."""

    def snapshots_for(self, image_id: str) -> Sequence[Mapping[str, Any]]:
        """Those that were made for this image."""

    def delete_snapshot(self, snapshot_id: str) -> None:
        """Asks for it; one that is gone is fine."""


def begin(connection: Connection, capture_id: str, image_ids: Iterable[str]) -> None:
    """The records of these images are about to be made."""
    rows = [{"image_id": image_id, "capture_id": capture_id, "made": False} for image_id in image_ids]
    connection.execute(insert(reservations), rows)


def made(connection: Connection, capture_id: str) -> None:
    """They are made."""
    connection.execute(update(reservations).where(reservations.c.capture_id == capture_id).values(made=True))


class Reservations:
    """Runs every few seconds from one thread; several controllers may do so at once."""

    def __init__(
        self,
        db: Database,
        shelf: Shelf,
        snapshots: Snapshots,
        agents: AgentApi,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._shelf = shelf
        self._snapshots = snapshots
        self._agents = agents
        self._unmade = Watch(clock)
        self._ended = Watch(clock)

    def run_once(self, now: datetime) -> None:
        """One look at everything; what cannot be done now is done by a later one."""
        rows = self._db.read(_all)
        self._end_unmade([row for row in rows if not row.made and row.status == CaptureStatus.PENDING], now)
        self._end_deleted([row for row in rows if row.made and row.status in _UNDECIDED], now)
        self._take_back([row for row in rows if CaptureStatus(row.status).final])

    def _end_unmade(self, rows: Sequence[AnyRow], now: datetime) -> None:
        """Whoever accepted them has died before it had made their records."""
        waited = self._unmade.unchanged((row.image_id, row.capture_id) for row in rows)
        for row in rows:
            if waited[row.image_id] >= MAKING_SECONDS:
                why = ImageNotReserved(image=row.image_id, seconds=MAKING_SECONDS).fault
                self._db.write(decisions.cancel, row.capture_id, why, now)

    def _end_deleted(self, rows: Sequence[AnyRow], now: datetime) -> None:
        """Whoever deletes an image that is being made ends its capture."""
        hosts = {row.image_id: row.host for row in rows}
        owners = {row.image_id: row.capture_id for row in rows}
        for some in chunks(sorted(hosts)):
            for image_id in set(some) - self._shelf.present(some):
                LOG.info("image %s was deleted while it was being made", image_id)
                self._db.write(decisions.cancel, owners[image_id], ImageDeleted(image=image_id).fault, now)
                self._agents.wake(hosts[image_id])

    def _take_back(self, rows: Sequence[AnyRow]) -> None:
        """After the end of a capture: a finished image is the user's, what was not finished goes."""
        since = self._ended.unchanged((row.image_id, row.status) for row in rows)
        for row in rows:
            try:
                left = not self._is_the_users(row) and self._removed(row)
            except StillframeError as error:
                LOG.warning("what was made for image %s could not be removed yet: %s", row.image_id, error)
                continue
            settled = row.made and row.closed is not False
            if not left and (settled or since[row.image_id] >= DOUBT_SECONDS):
                self._db.write(_forget, row)

    def _removed(self, row: AnyRow) -> bool:
        """Has all that was made for the image removed; whether something is left, which takes its time."""
        self._shelf.delete(row.image_id)
        found = () if row.closed is None else self._snapshots.snapshots_for(row.image_id)
        for snapshot in found:
            if snapshot["status"] not in BUSY:
                self._snapshots.delete_snapshot(snapshot["id"])
        return bool(found)

    def _is_the_users(self, row: AnyRow) -> bool:
        """An image whose publication nobody could tell of is whole when its data is there: the store has counted it."""
        if row.status == CaptureStatus.COMPLETED:
            return True
        unknown = row.fault is not None and row.fault.code == PublicationUnknown.code
        return unknown and self._shelf.finished(row.image_id)


def _all(connection: Connection) -> Sequence[AnyRow]:
    """Every reservation with its capture, which is not forgotten before."""
    c, owner = captures.c, reservations.c.capture_id
    query = select(reservations, c.status, c.host, c.fault, volume_sets.c.closed)
    query = query.join(captures, c.id == owner).outerjoin(volume_sets, volume_sets.c.capture_id == owner)
    return connection.execute(query).all()


def _forget(connection: Connection, row: AnyRow) -> None:
    connection.execute(delete(reservations).where(reservations.c.image_id == row.image_id))
    volumesets.forget(connection, row.capture_id)


def unmade() -> Select[str]:
    """The ids of captures that no agent may begin yet."""
    return select(reservations.c.capture_id).where(not_(reservations.c.made))
