"""Rows of the database to the records that everybody else knows."""

from __future__ import annotations

from stillframe.controller.schema import AnyRow
from stillframe.messaging.contract import CaptureReport, Order
from stillframe.model import Capture, CaptureStatus, Host, Image, ImageRequest, Phase, Server, TaskState

_NOTHING = CaptureReport(capture_id="", attempt="", phase=Phase.WAITING)
_SAVING = (Phase.TRANSFERRING, Phase.PUBLISHING)


def host(row: AnyRow) -> Host:
    """A row of `hosts`."""
    return Host(name=row.name, agent_run=row.agent_run, last_seen=row.last_seen)


def server(row: AnyRow) -> Server:
    """A row of `instances`."""
    return Server(
        instance=row.document,
        host=row.host,
        created_at=row.created_at,
        updated_at=row.updated_at,
        task_state=None if row.task_state is None else TaskState(row.task_state),
        capture_id=row.capture_id,
    )


def capture(row: AnyRow) -> Capture:
    """A row of `captures`."""
    report: CaptureReport = row.report or _NOTHING
    return Capture(
        id=row.id,
        instance_id=row.instance_id,
        name=row.name,
        status=CaptureStatus(row.status),
        created_at=row.created_at,
        request_id=row.request_id,
        host=row.host,
        images=row.images,
        wishes=row.wishes,
        kind=row.kind,
        backup_type=row.backup_type,
        rotation=row.rotation,
        project_id=row.project_id,
        user_id=row.user_id,
        attempt=row.attempt,
        phase=Phase(row.phase),
        started_at=row.started_at,
        ended_at=row.ended_at,
        way=report.way,
        instant=report.instant,
        progress=report.progress,
        steps=report.steps,
        results=report.images,
        fault=row.fault,
        held=report.held,
        cancel=row.cancel,
        updated_at=row.updated_at,
    )


def order(row: AnyRow) -> Order:
    """A row of `captures` that has not ended, as its host is told of it."""
    return Order(
        capture_id=row.id,
        instance_id=row.instance_id,
        images=row.images,
        wishes=row.wishes,
        request_id=row.request_id,
        cancel=row.cancel,
        instant=None if row.report is None else row.report.instant,
    )


def pending_image(of: Capture, requested: ImageRequest) -> Image:
    """An image that this capture is still making, as Glance would show it before its data is there."""
    return Image(
        id=requested.id,
        name=requested.name,
        status="saving" if of.phase in _SAVING else "queued",
        created_at=of.created_at,
        updated_at=of.updated_at or of.created_at,
        owner=owner(of, requested),
        captured_at=None if of.instant is None else of.instant.captured_at,
        properties=requested.properties,
    )


def owner(of: Capture, requested: ImageRequest) -> str | None:
    """The project that the image will belong to."""
    return requested.properties.get("owner_id", of.project_id)
