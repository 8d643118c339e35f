"""Servers as the API asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Column, ColumnElement, or_, select

from stillframe.controller import names, views
from stillframe.controller.database import Database
from stillframe.controller.paging import page
from stillframe.controller.schema import instances
from stillframe.errors.request import InstanceNotFound
from stillframe.model import PowerState, Server, TaskState, VmState


class SortKey(StrEnum):
    """What servers can be sorted by; the API's names are its own matter."""

    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"
    NAME = "name"
    ID = "id"
    HOST = "host"
    VM_STATE = "vm_state"
    POWER_STATE = "power_state"


@dataclass(frozen=True, slots=True)
class Sort:
    """One key of an order."""

    key: SortKey
    descending: bool = True


NEWEST_FIRST = (Sort(SortKey.CREATED_AT), Sort(SortKey.ID))  # Nova's default


@dataclass(frozen=True, slots=True)
class ServerFilters:
    """What a list is narrowed to; None narrows nothing, all that is given must hold."""

    name: str | None = None  # Nova's regular expression, of which literals, ^, $, ., .* and \\x are understood
    ids: tuple[str, ...] | None = None
    vm_states: tuple[VmState, ...] | None = None
    power_states: tuple[PowerState, ...] | None = None
    task_states: tuple[TaskState | None, ...] | None = None
    host: str | None = None
    user_id: str | None = None
    base_image_id: str | None = None
    flavor: str | None = None
    changed_since: datetime | None = None  # updated_at at or after
    changed_before: datetime | None = None  # updated_at at or before


class Servers:
    """The instances of all hosts, as their agents reported them."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self, server_id: str, project: str | None) -> Server:
        """The server, if it is of this project (None: of any); raises InstanceNotFound."""
        query = select(instances).where(instances.c.id == server_id, *_visible(project))
        row = self._db.read(lambda connection: connection.execute(query).one_or_none())
        if row is None:
            raise InstanceNotFound(instance=server_id)
        return views.server(row)

    def task_states(self) -> dict[str, TaskState]:
        """By server id, of those that have one: that are being captured."""
        c = instances.c
        query = select(c.id, c.task_state).where(c.task_state.is_not(None))
        rows = self._db.read(lambda connection: connection.execute(query).all())
        return {row.id: TaskState(row.task_state) for row in rows}

    def list(
        self,
        filters: ServerFilters = ServerFilters(),
        project: str | None = None,
        sort: Sequence[Sort] = NEWEST_FIRST,
        limit: int = 1000,
        marker: str | None = None,
    ) -> list[Server]:
        """At most `limit` servers after the one whose id is `marker`; project None: of all.

        Raises BadRequest for a marker that is not a server of the project, or a name pattern that is not understood.
        """
        keys = [(_column(one.key), one.descending) for one in (*sort, Sort(SortKey.ID, sort[-1].descending))]
        conditions = (_visible(project), _wanted(filters))
        rows = self._db.read(page, instances, keys, conditions, limit=limit, marker=marker)
        return [views.server(row) for row in rows]


def _column(key: SortKey) -> Column[Any]:
    return instances.c[key.value]


def _visible(project: str | None) -> list[ColumnElement[bool]]:
    return [] if project is None else [instances.c.project_id == project]


def _wanted(filters: ServerFilters) -> list[ColumnElement[bool]]:
    c = instances.c
    return [
        *([c.name.ilike(names.like(filters.name), escape=names.ESCAPE)] if filters.name is not None else []),
        *([c.id.in_(filters.ids)] if filters.ids is not None else []),
        *([c.vm_state.in_(filters.vm_states)] if filters.vm_states is not None else []),
        *([c.power_state.in_(filters.power_states)] if filters.power_states is not None else []),
        *([_task_state_in(filters.task_states)] if filters.task_states is not None else []),
        *([c.host == filters.host] if filters.host is not None else []),
        *([c.user_id == filters.user_id] if filters.user_id is not None else []),
        *([c.base_image_id == filters.base_image_id] if filters.base_image_id is not None else []),
        *([c.flavor == filters.flavor] if filters.flavor is not None else []),
        *([c.updated_at >= filters.changed_since] if filters.changed_since is not None else []),
        *([c.updated_at <= filters.changed_before] if filters.changed_before is not None else []),
    ]


def _task_state_in(states: tuple[TaskState | None, ...]) -> ColumnElement[bool]:
    named = instances.c.task_state.in_([state for state in states if state is not None])
    return or_(named, instances.c.task_state.is_(None)) if None in states else named
