"""Servers as the API asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from stillframe.controller.database import Database
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
        raise NotImplementedError

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
        raise NotImplementedError
