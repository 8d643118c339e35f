"""Captures as the API asks for them: accept, cancel, look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from stillframe.controller import decisions, novalocks, reservations, views, volumesets
from stillframe.controller.database import Database
from stillframe.controller.paging import page
from stillframe.controller.schema import AnyRow, captures, instances
from stillframe.errors.base import Reported
from stillframe.errors.capture import CaptureCancelled
from stillframe.errors.glance import GlanceFailed, GlanceUnreachable
from stillframe.errors.request import CaptureEnded, CaptureNotFound, ImageNotFound, InstanceNotFound, WrongState
from stillframe.messaging.contract import AgentApi
from stillframe.model import Capture, CaptureStatus, Fault, Image, ImageRequest, Phase, Server, VmState, Wishes, now

CAPTURABLE = (VmState.ACTIVE, VmState.STOPPED, VmState.PAUSED, VmState.SUSPENDED)
_KEYS = ((captures.c.created_at, True), (captures.c.id, True))


@dataclass(frozen=True, slots=True)
class CaptureRequest:
    """What somebody wants captured. The first image's id becomes the capture's."""

    instance_id: str
    project: str | None  # the caller's scope; None: every project's instances
    user_id: str | None
    request_id: str
    action: str  # createImage or createBackup: named in refusals
    name: str
    images: tuple[ImageRequest, ...]  # at least one; the ids are made by the caller
    wishes: Wishes = field(default_factory=Wishes)
    kind: str = "snapshot"  # or backup
    backup_type: str | None = None
    rotation: int | None = None
    reserve: bool = False  # its images get records outside before an agent may begin: see `reserved`
    lock: bool = False  # so does its server a lock in Nova


@dataclass(frozen=True, slots=True)
class CaptureFilters:
    """What a list is narrowed to; None narrows nothing, all that is given must hold."""

    server_id: str | None = None
    statuses: tuple[CaptureStatus, ...] | None = None
    request_id: str | None = None
    changed_since: datetime | None = None  # updated_at at or after
    changed_before: datetime | None = None  # updated_at at or before


class Captures:
    """The captures of all hosts: wished for here, made by the agents."""

    def __init__(self, db: Database, agents: AgentApi) -> None:
        self._db = db
        self._agents = agents

    def accept(self, request: CaptureRequest) -> Capture:
        """Records the capture and takes the instance's task_state for it, in one transaction.

        Raises InstanceNotFound, or WrongState when the instance's vm_state or task_state does not allow it.
        """
        row = self._db.write(_accept, request)
        if not (request.reserve or request.lock):
            self._agents.wake(row.host)
        return views.capture(row)

    def reserved(self, capture_id: str) -> Capture:
        """All that it needs outside is made: an agent may begin. Raises the cause when it has ended meanwhile."""
        row = self._db.write(_reserved, capture_id)
        if row.fault is not None:
            raise Reported(row.fault)
        self._agents.wake(row.host)
        return views.capture(row)

    def fail(self, capture_id: str, why: Fault) -> None:
        """Ends a capture that no agent may begin yet."""
        self._db.write(_fail, capture_id, why)

    def stop(self, capture_id: str, why: Fault) -> None:
        """Ends one that an agent may have begun, for this cause; nothing where it has ended or was stopped before."""
        self._agents.wake(self._db.write(_stop, capture_id, why).host)

    def cancel(self, capture_id: str, project: str | None) -> Capture:
        """Ends a capture that no agent has begun, has any other stopped; asking again changes nothing.

        Raises CaptureNotFound, or CaptureEnded when it has ended otherwise or is being published.
        """
        told, row = self._db.write(_cancel, capture_id, project)
        if told:
            self._agents.wake(row.host)
        elif row.status not in (CaptureStatus.RUNNING, CaptureStatus.CANCELLED):
            raise CaptureEnded(capture=capture_id, state=row.status)
        return views.capture(row)

    def get(self, capture_id: str, project: str | None) -> Capture:
        """The capture, if its instance is of this project (None: of any); raises CaptureNotFound."""
        return views.capture(self._db.read(_row, capture_id, project))

    def list(
        self,
        filters: CaptureFilters = CaptureFilters(),
        project: str | None = None,
        limit: int = 1000,
        marker: str | None = None,
    ) -> list[Capture]:
        """At most `limit` captures, newest first, after the one whose id is `marker`; project None: of all.

        Also what os-instance-actions is made of (`server_id`, and `request_id` for one of them), after the instance is
        gone too. Raises BadRequest for a marker that is not a capture of the project.
        """
        conditions = (_visible(project), _wanted(filters))
        rows = self._db.read(page, captures, _KEYS, conditions, limit=limit, marker=marker)
        return [views.capture(row) for row in rows]

    def of_image(self, image_id: str, project: str | None) -> Capture:
        """The capture not ended that is making this image for this project (None: any); raises ImageNotFound."""
        return self._making(image_id, project)[0]

    def pending_image(self, image_id: str, project: str | None) -> Image:
        """An image that is being made, as queued or saving; raises ImageNotFound."""
        return views.pending_image(*self._making(image_id, project))

    def pending_images(self, project: str | None) -> tuple[Image, ...]:
        """All images that are being made, newest first. As many as captures not ended: at most one an instance."""
        return tuple(views.pending_image(capture, image) for capture, image in self._all_making(project))

    def counts(self) -> dict[CaptureStatus, int]:
        """How many captures stand where; every status has its number."""
        query = select(captures.c.status, func.count()).group_by(captures.c.status)
        counted = dict(self._db.read(lambda connection: connection.execute(query).all()))
        return {status: counted.get(status, 0) for status in CaptureStatus}

    def _making(self, image_id: str, project: str | None) -> tuple[Capture, ImageRequest]:
        for capture, image in self._all_making(project):
            if image.id == image_id:
                return capture, image
        raise ImageNotFound(image=image_id)

    def _all_making(self, project: str | None) -> Iterator[tuple[Capture, ImageRequest]]:
        query = select(captures).where(captures.c.status.in_(decisions.OPEN))
        query = query.order_by(captures.c.created_at.desc(), captures.c.id.desc())
        rows = self._db.read(lambda connection: connection.execute(query).all())
        for capture in map(views.capture, rows):
            for image in capture.images:
                if project in (None, views.owner(capture, image)):
                    yield capture, image


def _accept(connection: Connection, request: CaptureRequest) -> AnyRow:
    """The capture's row: the one that is there already when this runs again."""
    accepted = decisions.row_of(connection, request.images[0].id)
    return accepted or _record(connection, request, _take_task_state(connection, request))


def _reserved(connection: Connection, capture_id: str) -> AnyRow:
    reservations.made(connection, capture_id)
    novalocks.made(connection, capture_id)
    return _row(connection, capture_id, None)


def _fail(connection: Connection, capture_id: str, why: Fault) -> None:
    """Unless the answer is missing or was no answer of Glance's own, nobody makes a record of it any more."""
    if why.code not in (GlanceUnreachable.code, GlanceFailed.code):
        reservations.made(connection, capture_id)
    volumesets.close(connection, capture_id)
    row = _row(connection, capture_id, None)
    if not CaptureStatus(row.status).final:
        decisions.fail(connection, row, why, now())


def _stop(connection: Connection, capture_id: str, why: Fault) -> AnyRow:
    decisions.cancel(connection, capture_id, why, now())
    return _row(connection, capture_id, None)


def _cancel(connection: Connection, capture_id: str, project: str | None) -> tuple[bool, AnyRow]:
    """Whether that told it to stop, and the row as it is then."""
    _row(connection, capture_id, project)
    told = decisions.cancel(connection, capture_id, CaptureCancelled().fault, now())
    return told, _row(connection, capture_id, project)


def expect_free(server: Server, action: str) -> None:
    """Raises WrongState when a capture would be refused as things are now."""
    instance = server.instance
    if instance.vm_state not in CAPTURABLE:
        raise WrongState(action=action, instance=instance.id, attribute="vm_state", value=instance.vm_state)
    if server.task_state is not None:
        raise WrongState(action=action, instance=instance.id, attribute="task_state", value=server.task_state)


def _take_task_state(connection: Connection, request: CaptureRequest) -> AnyRow:
    """The instance's row, once its task_state is ours."""
    c = instances.c
    mine = [c.id == request.instance_id] + ([] if request.project is None else [c.project_id == request.project])
    taken = connection.execute(
        update(instances)
        .where(*mine, c.task_state.is_(None), c.vm_state.in_(CAPTURABLE))
        .values(
            task_state=decisions.task_state(request.kind, Phase.WAITING),
            capture_id=request.images[0].id,
            updated_at=now(),
        )
    ).rowcount
    row = connection.execute(select(instances).where(*mine)).one_or_none()
    if row is None:
        raise InstanceNotFound(instance=request.instance_id)
    if not taken:
        wrong = ("task_state", row.task_state) if row.vm_state in CAPTURABLE else ("vm_state", row.vm_state)
        raise WrongState(action=request.action, instance=row.id, attribute=wrong[0], value=wrong[1])
    return row


def _record(connection: Connection, request: CaptureRequest, instance: AnyRow) -> AnyRow:
    """The new capture's row."""
    accepted_at = now()
    new = (
        insert(captures)
        .values(
            id=request.images[0].id,
            instance_id=instance.id,
            host=instance.host,
            project_id=instance.project_id,
            user_id=request.user_id,
            request_id=request.request_id,
            name=request.name,
            kind=request.kind,
            backup_type=request.backup_type,
            rotation=request.rotation,
            rotated=True,
            retired=False,
            status=CaptureStatus.PENDING,
            phase=Phase.WAITING,
            attempt=0,
            created_at=accepted_at,
            updated_at=accepted_at,
            images=request.images,
            wishes=request.wishes,
        )
        .returning(captures)
    )
    if request.reserve:
        reservations.begin(connection, request.images[0].id, [image.id for image in request.images])
    if request.lock:
        novalocks.begin(connection, request.images[0].id, instance.id)
    if request.wishes.volumes:
        volumesets.begin(connection, request.images[0].id)
    return connection.execute(new).one()


def _row(connection: Connection, capture_id: str, project: str | None) -> AnyRow:
    row = connection.execute(select(captures).where(captures.c.id == capture_id, *_visible(project))).one_or_none()
    if row is None:
        raise CaptureNotFound(capture=capture_id)
    return row


def _visible(project: str | None) -> list[ColumnElement[bool]]:
    return [] if project is None else [captures.c.project_id == project]


def _wanted(filters: CaptureFilters) -> list[ColumnElement[bool]]:
    c = captures.c
    return [
        *([c.instance_id == filters.server_id] if filters.server_id is not None else []),
        *([c.status.in_(filters.statuses)] if filters.statuses is not None else []),
        *([c.request_id == filters.request_id] if filters.request_id is not None else []),
        *([c.updated_at >= filters.changed_since] if filters.changed_since is not None else []),
        *([c.updated_at <= filters.changed_before] if filters.changed_before is not None else []),
    ]
