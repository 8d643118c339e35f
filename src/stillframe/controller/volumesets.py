"""Captures that are snapshots of Cinder's volumes: where the guest's host and whoever may ask Cinder find each other.

The host holds the guest still and says so; the API process, which alone has the user's token, has Cinder take the
snapshots and says that they are there; the host lets the guest go on. Both ask again and again: nobody waits for a
message.

A row is also the lease of the snapshots: it goes once they are the user's, or gone (see reservations.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, delete, insert, select, update

from stillframe import failpoints
from stillframe.controller import decisions
from stillframe.controller.database import Database
from stillframe.controller.schema import AnyRow, volume_sets
from stillframe.errors.base import Reported
from stillframe.errors.capture import InstantLost
from stillframe.errors.cinder import SnapshotsLate
from stillframe.errors.request import CaptureNotFound
from stillframe.model import CaptureStatus, Phase, now

_HOLDING = (Phase.WAITING, Phase.HOLDING)


def begin(connection: Connection, capture_id: str) -> None:
    """This capture is one of them; whoever accepted it will ask Cinder."""
    connection.execute(insert(volume_sets).values(capture_id=capture_id, closed=False))


def close(connection: Connection, capture_id: str) -> None:
    """Nobody asks Cinder for more snapshots of this capture."""
    connection.execute(update(volume_sets).where(volume_sets.c.capture_id == capture_id).values(closed=True))


def named(connection: Connection, capture_id: str) -> dict[str, str]:
    """What an image says of its snapshots; nothing for one that has data."""
    query = select(volume_sets.c.properties).where(volume_sets.c.capture_id == capture_id)
    return connection.scalar(query) or {}


def forget(connection: Connection, capture_id: str) -> None:
    """Nothing of it has to be taken back any more."""
    connection.execute(delete(volume_sets).where(volume_sets.c.capture_id == capture_id))


@failpoints.around("record.stand_still")
def stand_still(connection: Connection, capture_id: str, attempt: str) -> tuple[bool, str]:
    """The guest stands still for this attempt: whether the snapshots are there.

    Or why the attempt is over, in words. Raises InstantLost when the snapshots are another attempt's.
    """
    row, found = decisions.row_of(connection, capture_id), _set(connection, capture_id)
    if row is None or row.token != attempt or row.status != CaptureStatus.RUNNING or row.cancel is not None:
        return False, decisions.refusal(connection, capture_id, None, now())
    if found.attempt not in (None, attempt) or (found.closed and found.properties is None):
        raise InstantLost(reason="the agent was restarted while Cinder took the snapshots")
    if found.attempt is None:
        mine = volume_sets.c.capture_id == capture_id
        connection.execute(update(volume_sets).where(mine).values(attempt=attempt))
    return found.properties is not None, ""


class VolumeSets:
    """For whoever asks Cinder; any number of threads."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def standing(self, capture_id: str) -> str | None:
        """The attempt whose guest stands still now; None: none does yet. Raises why the capture has ended."""
        return self._db.read(_standing, capture_id)

    def taken(self, capture_id: str, attempt: str, properties: Mapping[str, str]) -> None:
        """The snapshots are there, taken while this attempt's guest stood still. Raises SnapshotsLate."""
        if not self._db.write(_taken, capture_id, attempt, dict(properties)):
            raise SnapshotsLate

    def held(self, capture_id: str) -> bool:
        """Whether the host has let the guest go on, and counts the snapshots as one instant. Raises as `standing`."""
        return self._db.read(_held, capture_id)

    def close(self, capture_id: str) -> None:
        """Nobody asks Cinder for more snapshots of this capture."""
        self._db.write(close, capture_id)


def _standing(connection: Connection, capture_id: str) -> str | None:
    """None also once another attempt has begun: the guest of the earlier one goes on."""
    token, attempt = _expect_open(connection, capture_id).token, _set(connection, capture_id).attempt
    return str(attempt) if attempt is not None and attempt == token else None


def _taken(connection: Connection, capture_id: str, attempt: str, properties: dict[str, str]) -> bool:
    if _standing(connection, capture_id) != attempt:
        return False
    mine = (volume_sets.c.capture_id == capture_id, volume_sets.c.attempt == attempt)
    return connection.execute(update(volume_sets).where(*mine).values(properties=properties)).rowcount == 1


def _held(connection: Connection, capture_id: str) -> bool:
    return _expect_open(connection, capture_id).phase not in _HOLDING


def _expect_open(connection: Connection, capture_id: str) -> AnyRow:
    """The capture's row; raises why it has ended or is to stop."""
    row = decisions.row_of(connection, capture_id)
    if row is None:
        raise CaptureNotFound(capture=capture_id)
    why = row.fault or row.cancel
    if why is not None:
        raise Reported(why)
    return row


def _set(connection: Connection, capture_id: str) -> AnyRow:
    row = connection.execute(select(volume_sets).where(volume_sets.c.capture_id == capture_id)).one_or_none()
    if row is None:
        raise CaptureNotFound(capture=capture_id)
    return row
