"""createBackup's rotation: which images of finished backups are too many."""

from __future__ import annotations

from typing import Protocol

from stillframe.controller.database import Database


class Shelf(Protocol):
    """The part of an image store that rotation needs."""

    def exists(self, image_id: str) -> bool:
        """True while the image is there."""

    def delete(self, image_id: str) -> None:
        """Deletes the image; one that is gone already is fine."""


class Rotation:
    """Deletes the oldest images of an instance and backup type beyond the rotation of the newest finished backup."""

    def __init__(self, db: Database, shelf: Shelf) -> None:
        self._db = db
        self._shelf = shelf

    def run_once(self) -> tuple[str, ...]:
        """Rotates for every backup finished since the last run; ids of the deleted images.

        Only finished backups count, and of those only the ones whose image is still there. What a crash interrupts
        is done by the next run.
        """
        raise NotImplementedError
