"""Pages of a sorted list: what comes after a marker, found by an index and not by counting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Table, and_, or_, select

from stillframe.controller.schema import AnyRow
from stillframe.errors.request import BadRequest

Key = tuple[Column[Any], bool]  # a column without NULLs, and whether it descends

CHUNK = 500  # values in one IN: databases bound the length of a statement


def page(
    connection: Connection,
    table: Table[Any],
    keys: Sequence[Key],
    conditions: tuple[Sequence[ColumnElement[bool]], Sequence[ColumnElement[bool]]],
    *,
    limit: int,
    marker: str | None,
) -> Sequence[AnyRow]:
    """At most `limit` rows, sorted by the keys, after the row whose id is `marker`.

    The last key is the id. The conditions are what the caller may see and what is wanted of that; the marker needs to
    be visible only, since it may have changed after the page before. Raises BadRequest when it is not there.
    """
    visible, wanted = conditions
    narrowed = [*visible, *wanted]
    if marker is not None:
        columns = [column for column, _ in keys]
        at = connection.execute(select(*columns).where(columns[-1] == marker, *visible)).first()
        if at is None:
            raise BadRequest(reason=f"marker [{marker}] not found")
        narrowed.append(_after(list(zip(keys, at, strict=True))))
    order = [column.desc() if descending else column.asc() for column, descending in keys]
    return connection.execute(select(table).where(*narrowed).order_by(*order).limit(limit)).all()


def chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """The ids in portions that fit a statement."""
    return (ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK))


def _after(keys: Sequence[tuple[Key, Any]]) -> ColumnElement[bool]:
    """The first key alone bounds the range, which is what lets an index seek to it."""
    ((column, descending), value), *rest = keys
    beyond: ColumnElement[bool] = column < value if descending else column > value
    if not rest:
        return beyond
    return and_(column <= value if descending else column >= value, or_(beyond, _after(rest)))
