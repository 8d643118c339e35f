"""The database: its engine, its transactions, its migrations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection


class Database:
    """One SQLAlchemy engine, shared by all threads of a process."""

    def __init__(self, url: str, *, busy_timeout: float = 30.0) -> None:
        raise NotImplementedError

    def upgrade(self) -> None:
        """Brings the schema to this release's; safe when several processes start at once."""
        raise NotImplementedError

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads: one consistent view, never blocked by writers on SQLite."""
        raise NotImplementedError

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes: committed at the end, rolled back on any exception."""
        raise NotImplementedError

    def close(self) -> None:
        """Closes every connection."""
        raise NotImplementedError
