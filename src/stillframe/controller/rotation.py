"""createBackup's rotation: which images of finished backups are too many."""

from __future__ import annotations

from typing import Protocol

from sqlalchemy import Connection, not_, select, update

from stillframe.controller.claims import Claims
from stillframe.controller.database import Database
from stillframe.controller.schema import AnyRow, captures
from stillframe.model import CaptureStatus


class Shelf(Protocol):
    """The part of an image store that rotation needs."""

    def exists(self, image_id: str) -> bool:
        """True while the image is there."""

    def delete(self, image_id: str) -> None:
        """Deletes the image; one that is gone already is fine."""


class Rotation:
    """Deletes the oldest images of an instance and backup type beyond what each finished backup asked to keep."""

    def __init__(self, db: Database, shelf: Shelf) -> None:
        self._db = db
        self._shelf = shelf
        self._claims = Claims(db)

    def run_once(self) -> tuple[str, ...]:
        """Rotates for every backup finished since the last run; ids of the deleted images.

        Only finished backups count, and of those only the ones whose image is still there. What a crash interrupts
        is done by the next run.
        """
        c = captures.c
        due = select(captures).where(c.kind == "backup", not_(c.rotated)).order_by(c.created_at, c.id)
        backups = self._db.read(lambda connection: connection.execute(due).all())
        deleted: list[str] = []
        for backup in backups:
            with self._claims.held(_claim(backup)) as mine:
                deleted += self._rotate(backup) if mine else ()
        return tuple(deleted)

    def _rotate(self, backup: AnyRow) -> list[str]:
        existing = [row for row in self._finished(backup) if self._is_there(row)]
        deleted: list[str] = []
        for row in existing[backup.rotation :]:
            if not self._claims.take(_claim(backup)):  # it lapsed while the store was slow: another does the rest
                return deleted
            for image in row.images:
                self._shelf.delete(image.id)
                deleted.append(image.id)
            self._note(row, retired=True)
        self._note(backup, rotated=True)
        return deleted

    def _finished(self, backup: AnyRow) -> list[AnyRow]:
        """This backup and those before it, newest first."""
        c = captures.c
        query = select(captures).where(
            c.instance_id == backup.instance_id,
            c.kind == "backup",
            c.backup_type == backup.backup_type,
            c.status == CaptureStatus.COMPLETED,
            c.created_at <= backup.created_at,
            not_(c.retired),
        )
        query = query.order_by(c.created_at.desc(), c.id.desc())
        return self._db.read(lambda connection: list(connection.execute(query)))

    def _is_there(self, row: AnyRow) -> bool:
        """Also notes when it is not, so that nobody asks again."""
        there = any(self._shelf.exists(image.id) for image in row.images)
        if not there:
            self._note(row, retired=True)
        return there

    def _note(self, row: AnyRow, **values: bool) -> None:
        self._db.write(Connection.execute, update(captures).where(captures.c.id == row.id).values(**values))


def _claim(backup: AnyRow) -> str:
    """One at a time for each instance: the rotations of two of its backups would delete the same images."""
    return f"rotation:{backup.instance_id}"
