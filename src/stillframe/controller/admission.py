"""Which waiting captures a host is told of next: one of each project in turn, within the limits.

What a host was told of once stays with it until it has ended, is cancelled, or its instance is elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import zip_longest

from sqlalchemy import ColumnElement, Connection, func, select, update

from stillframe.config import Controller
from stillframe.controller import decisions
from stillframe.controller.schema import AnyRow, captures
from stillframe.model import CaptureStatus

Project = str | None  # None: the administrator's
_NEVER = datetime.min.replace(tzinfo=UTC)


def in_hand(open_: Sequence[AnyRow]) -> list[AnyRow]:
    """Those of a host's open captures that it was told of, in that order."""
    return sorted((row for row in open_ if row.ordered_at is not None), key=lambda row: (row.ordered_at, row.id))


def admitted(
    connection: Connection, host: str, open_: Sequence[AnyRow], limits: Controller, at: datetime
) -> list[AnyRow]:
    """What of its open captures (oldest first) a host shall have in hand: what it has, and the next ones in turn."""
    told = in_hand(open_)
    waiting = [row for row in open_ if row.ordered_at is None]
    room = limits.max_captures_per_host - len(told)
    if not waiting or room <= 0:
        return told
    rooms = _Rooms(connection, limits.max_captures_per_project)
    new: list[AnyRow] = []
    for row in in_turn(waiting, _last_turns(connection, host, {row.project_id for row in waiting})):
        # a microsecond apart, so that the order of the turns is on record
        if rooms.left(row.project_id) and _order(connection, row.id, at + timedelta(microseconds=len(new))):
            rooms.use(row.project_id)
            new.append(row)
        if len(new) == room:
            break
    return [*told, *new]


def in_turn(waiting: Sequence[AnyRow], last: Mapping[Project, datetime]) -> list[AnyRow]:
    """One of each project, then another of each, and so on: the project first whose last turn is longest ago.

    `waiting` is oldest first, and stays so within a project; one that is not in `last` has had no turn yet.
    """
    queues: dict[Project, list[AnyRow]] = {}
    for row in waiting:
        queues.setdefault(row.project_id, []).append(row)
    projects = sorted(queues, key=lambda project: (last.get(project, _NEVER), queues[project][0].created_at))
    rounds = zip_longest(*(queues[project] for project in projects))
    return [row for one_of_each in rounds for row in one_of_each if row is not None]


class _Rooms:
    """How many more captures each project may have in hand, over all hosts."""

    def __init__(self, connection: Connection, most: int) -> None:
        self._connection = connection
        self._most = most
        self._used: dict[Project, int] = {}

    def left(self, project: Project) -> bool:
        if not self._most:
            return True
        if project not in self._used:
            self._used[project] = _in_hand_of(self._connection, project)
        return self._used[project] < self._most

    def use(self, project: Project) -> None:
        self._used[project] = self._used.get(project, 0) + 1


def _in_hand_of(connection: Connection, project: Project) -> int:
    """Counted with the project's open captures locked: two hosts cannot both be given its last place."""
    c = captures.c
    query = select(c.ordered_at).where(_of(project), c.status.in_(decisions.OPEN)).order_by(c.id).with_for_update()
    return sum(ordered_at is not None for ordered_at in connection.scalars(query))


def _last_turns(connection: Connection, host: str, projects: set[Project]) -> dict[Project, datetime]:
    last: dict[Project, datetime] = {}
    for project in projects:
        query = select(func.max(captures.c.ordered_at)).where(captures.c.host == host, _of(project))
        turn = connection.scalar(query)
        if turn is not None:
            last[project] = turn
    return last


def _order(connection: Connection, capture_id: str, at: datetime) -> bool:
    """False when it was cancelled meanwhile."""
    c = captures.c
    waiting = update(captures).where(c.id == capture_id, c.status == CaptureStatus.PENDING, c.ordered_at.is_(None))
    return connection.execute(waiting.values(ordered_at=at)).rowcount == 1


def _of(project: Project) -> ColumnElement[bool]:
    return captures.c.project_id.is_(None) if project is None else captures.c.project_id == project
