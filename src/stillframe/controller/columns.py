"""Column types that mean the same on SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import DateTime, Dialect, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeDecorator

from stillframe import records

R = TypeVar("R")


class UtcTime(TypeDecorator[datetime]):
    """An aware time, stored to the microsecond as UTC without a zone, which every database orders alike."""

    impl = DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Aware to naive."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Naive to aware."""
        return None if value is None else value.replace(tzinfo=UTC)


class Document(TypeDecorator[R]):
    """A record, stored as one line of JSON: for what is read whole and never searched."""

    impl = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
    cache_ok = True

    def __init__(self, kind: type[R]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: R | None, _dialect: Dialect) -> str | None:
        """Record to JSON."""
        return None if value is None else records.dumps(value)

    def process_result_value(self, value: Any, _dialect: Dialect) -> R | None:
        """JSON to record."""
        return None if value is None else records.loads(self.kind, value)
