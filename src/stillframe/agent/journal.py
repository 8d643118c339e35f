"""The agent's journal: what it holds and how far each capture is, durable before anything is done.

A SQLite file, every write synced. When the disk is full a ballast file beside it is given up, so that the end of a
capture can still be written.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stillframe import failpoints, records
from stillframe.capture.kept import Kept
from stillframe.config import MIB
from stillframe.errors.service import JournalFailed
from stillframe.messaging.contract import CaptureReport

LOG = logging.getLogger(__name__)
BALLAST = 4 * MIB  # room for thousands of rows

SCHEMA = """
CREATE TABLE IF NOT EXISTS captures (id TEXT PRIMARY KEY, kept TEXT NOT NULL, ended TEXT);
CREATE TABLE IF NOT EXISTS leases (
    number INTEGER PRIMARY KEY AUTOINCREMENT, capture_id TEXT NOT NULL, kind TEXT NOT NULL, reference TEXT NOT NULL
);
"""


class Journal:
    """Used by all threads of the agent."""

    def __init__(self, path: Path) -> None:
        """Opens or creates it, mode 0600; raises JournalFailed."""
        self._lock = threading.Lock()
        self._ballast = path.with_suffix(".ballast")
        with _translated("open"):
            path.touch(mode=0o600)
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(SCHEMA)
        self._load_ballast()

    def close(self) -> None:
        """No more is written."""
        with self._lock:
            self._connection.close()

    # -------------------------------------------------------------------------------------------------- leases

    def lease(self, capture_id: str, kind: str, reference: str) -> int:
        """Writes a lease; the number removes it."""
        sql = "INSERT INTO leases (capture_id, kind, reference) VALUES (?, ?, ?)"
        return int(self._write(sql, (capture_id, kind, reference)).lastrowid or 0)

    def leased(self, capture_id: str) -> list[tuple[int, str, str]]:
        """All leases of one capture, oldest first."""
        sql = "SELECT number, kind, reference FROM leases WHERE capture_id = ? ORDER BY number"
        return self._read(sql, (capture_id,))

    def returned(self, number: int) -> None:
        """Removes a lease."""
        self._write("DELETE FROM leases WHERE number = ?", (number,))

    def strays(self) -> list[str]:
        """Captures that hold leases and are not in hand any more: their last write did not get through."""
        sql = "SELECT DISTINCT capture_id FROM leases WHERE capture_id NOT IN (SELECT id FROM captures)"
        return [row[0] for row in self._read(sql, ())]

    def owned(self) -> list[tuple[str, str]]:
        """Kind and reference of all leases of captures that are in hand."""
        return self._read("SELECT kind, reference FROM leases WHERE capture_id IN (SELECT id FROM captures)", ())

    # ------------------------------------------------------------------------------------------------ captures

    @failpoints.around("journal.keep")
    def keep(self, kept: Kept) -> None:
        """Replaces what is kept of this capture."""
        sql = "INSERT INTO captures (id, kept) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET kept = excluded.kept"
        self._write(sql, (kept.order.capture_id, records.dumps(kept)))

    @failpoints.around("journal.ended")
    def ended(self, report: CaptureReport) -> None:
        """Keeps the end of a capture until `forget`."""
        self._write("UPDATE captures SET ended = ? WHERE id = ?", (records.dumps(report), report.capture_id))

    @failpoints.around("journal.forget")
    def forget(self, capture_id: str) -> None:
        """Nothing of it is needed any more; what it still holds stays in the journal."""
        self._write("DELETE FROM captures WHERE id = ?", (capture_id,))

    def captures(self) -> list[tuple[Kept, CaptureReport | None]]:
        """All captures in hand, with their end where they have one."""
        rows = self._read("SELECT kept, ended FROM captures ORDER BY rowid", ())
        return [
            (records.loads(Kept, kept), records.loads(CaptureReport, ended) if ended else None) for kept, ended in rows
        ]

    # ------------------------------------------------------------------------------------------------- writing

    def _write(self, sql: str, values: tuple[object, ...]) -> sqlite3.Cursor:
        with self._lock, _translated("write"):
            try:
                return self._connection.execute(sql, values)
            except sqlite3.OperationalError as error:
                if not (_disk_full(error) and self._ballast.exists()):
                    raise
                LOG.warning("the journal's disk is full: the ballast is given up")
                self._ballast.unlink()
                return self._connection.execute(sql, values)

    def _read(self, sql: str, values: tuple[object, ...]) -> list[Any]:
        with self._lock, _translated("read"):
            return self._connection.execute(sql, values).fetchall()

    def _load_ballast(self) -> None:
        """Best effort: a disk that is full now may have room at the next start."""
        try:
            with self._ballast.open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, BALLAST)
        except OSError as error:
            LOG.warning("no ballast for the journal: %s", error)


def _disk_full(error: sqlite3.OperationalError) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise JournalFailed(what=what, operator=str(error)) from error
