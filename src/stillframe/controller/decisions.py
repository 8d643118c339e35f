"""Every change of a capture's status: one UPDATE that says from which status, so that of two racing wishes one wins.

    pending -> running -> publishing -> completed
       |          |            +------> failed
       +----------+-------------------> failed, cancelled

A running capture that is told to stop (`cancel`) can no longer be granted a commit, and one that was granted it can no
longer be told to stop. The instance's task_state follows in the same transaction. Callers bring the transaction.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, literal, or_, select, update

from stillframe import failpoints
from stillframe.controller import outbox
from stillframe.controller.columns import UtcTime
from stillframe.controller.schema import AnyRow, captures, instances, reservations
from stillframe.errors.capture import CaptureCancelled
from stillframe.errors.glance import ImageDeleted
from stillframe.errors.service import PublicationUnknown
from stillframe.messaging.contract import CaptureReport
from stillframe.messaging.notices import Event
from stillframe.model import CaptureStatus, Fault, Phase, TaskState

OPEN = (CaptureStatus.PENDING, CaptureStatus.RUNNING, CaptureStatus.PUBLISHING)

_TASK_STATES = {
    Phase.WAITING: TaskState.IMAGE_SNAPSHOT_PENDING,
    Phase.HOLDING: TaskState.IMAGE_SNAPSHOT,
    Phase.HELD: TaskState.IMAGE_PENDING_UPLOAD,
    Phase.TRANSFERRING: TaskState.IMAGE_UPLOADING,
    Phase.PUBLISHING: TaskState.IMAGE_UPLOADING,
    Phase.ENDED: None,
}

_CANCELS = (CaptureCancelled.code, ImageDeleted.code)  # somebody did not want it any more


def task_state(kind: str, phase: Phase) -> TaskState | None:
    """Nova's task_state of an instance whose capture is in this phase."""
    if kind == "backup" and phase is not Phase.ENDED:
        return TaskState.IMAGE_BACKUP
    return _TASK_STATES[phase]


def row_of(connection: Connection, capture_id: str) -> AnyRow | None:
    """The capture as it is now."""
    return connection.execute(select(captures).where(captures.c.id == capture_id)).one_or_none()


def making(connection: Connection, image_id: str) -> AnyRow | None:
    """The capture that makes this image and has it reserved."""
    of = reservations.c.capture_id == captures.c.id
    query = select(captures).join(reservations, of).where(reservations.c.image_id == image_id)
    return connection.execute(query).one_or_none()


@failpoints.around("record.begin")
def begin(connection: Connection, capture_id: str, host: str, agent_run: str, now: datetime) -> str | None:
    """The token of a new attempt, which ends any earlier one; None when the capture may not be begun.

    A run of the agent that asks again, since it got no answer, has the attempt that it began before.
    """
    token = secrets.token_hex(16)
    c = captures.c
    begun = _change(
        connection,
        c.id == capture_id,
        c.host == host,
        c.status.in_((CaptureStatus.PENDING, CaptureStatus.RUNNING)),
        c.cancel.is_(None),
        or_(c.agent_run.is_(None), c.agent_run != agent_run),
        status=CaptureStatus.RUNNING,
        attempt=captures.c.attempt + 1,
        token=token,
        agent_run=agent_run,
        ordered_at=func.coalesce(captures.c.ordered_at, literal(now, UtcTime())),
        started_at=func.coalesce(captures.c.started_at, literal(now, UtcTime())),
        updated_at=now,
    )
    row = row_of(connection, capture_id)
    if row is None or not (begun or _is_begun_by(row, agent_run)):
        return None
    if begun and row.attempt == 1:
        outbox.put(connection, Event.START, row, now)
    return str(row.token)


@failpoints.around("record.commit")
def commit(connection: Connection, capture_id: str, token: str, now: datetime) -> bool:
    """True when this attempt may publish: decided now, or before in its favour."""
    won = _change(
        connection,
        captures.c.id == capture_id,
        captures.c.token == token,
        captures.c.status == CaptureStatus.RUNNING,
        captures.c.cancel.is_(None),
        status=CaptureStatus.PUBLISHING,
        phase=Phase.PUBLISHING,
        updated_at=now,
    )
    row = row_of(connection, capture_id)
    if row is None or row.token != token:
        return False
    if won:
        _set_task_state(connection, row, Phase.PUBLISHING, now)
    return row.status in (CaptureStatus.PUBLISHING, CaptureStatus.COMPLETED)


@failpoints.around("record.cancel")
def cancel(connection: Connection, capture_id: str, why: Fault, now: datetime) -> bool:
    """Ends a pending capture and has a running one stopped; False when it was neither, or told before."""
    ended = _change(
        connection,
        captures.c.id == capture_id,
        captures.c.status == CaptureStatus.PENDING,
        **_ending(why, now),
        cancel=why,
    )
    if ended:
        _conclude(connection, capture_id, now)
        return True
    return _change(
        connection,
        captures.c.id == capture_id,
        captures.c.status == CaptureStatus.RUNNING,
        captures.c.cancel.is_(None),
        cancel=why,
        updated_at=now,
    )


@failpoints.around("record.note")
def note(connection: Connection, row: AnyRow, report: CaptureReport, now: datetime) -> bool:
    """Takes note of what an agent tells of a capture that has not ended; True when it has ended with that.

    What another attempt than the newest says, or one that lost a race since `row` was read, changes nothing.
    """
    if report.attempt != (row.token or "") and not _given_up(row, report):
        return False
    if report.phase is Phase.ENDED:
        return _end_as_reported(connection, row, report, now)
    phase = Phase.PUBLISHING if row.status == CaptureStatus.PUBLISHING else report.phase
    report = _with_instant(report, row.report)
    if phase == row.phase and report == row.report:
        return False
    noted = _change(connection, *_unchanged(row), phase=phase, report=report, updated_at=now)
    if noted and phase != row.phase:
        _set_task_state(connection, row, phase, now)
    return False


@failpoints.around("record.fail")
def fail(connection: Connection, row: AnyRow, why: Fault, now: datetime) -> bool:
    """Ends a capture without its agent, for `why` or what it was told to stop for; False if it lost a race."""
    return _end(connection, row, now, **_ending(row.cancel or why, now))


def refusal(connection: Connection, capture_id: str, agent_run: str | None, now: datetime) -> str:
    """Why neither begin nor commit was granted, in words.

    A new agent that begins what an earlier one was publishing knows nothing of it any more: nobody can tell how that
    ended, and the capture ends saying so.
    """
    row = row_of(connection, capture_id)
    if row is None:
        return "there is no such capture"
    if row.status == CaptureStatus.PUBLISHING and agent_run not in (None, row.agent_run):
        reason = "the agent lost its own records while it was publishing"
        fail(connection, row, PublicationUnknown(reason=reason).fault, now)
        return reason
    if row.cancel is not None and row.status == CaptureStatus.RUNNING:
        return f"it is to stop: {row.cancel.message}"
    if CaptureStatus(row.status).final:
        return f"the capture is {row.status}"
    return "it is being published" if row.status == CaptureStatus.PUBLISHING else "it is another attempt's or host's"


def _is_begun_by(row: AnyRow, agent_run: str) -> bool:
    return row.status == CaptureStatus.RUNNING and row.agent_run == agent_run and row.cancel is None


def _given_up(row: AnyRow, report: CaptureReport) -> bool:
    """That the host ended a capture whose token never reached it: no attempt is alive, so nothing else would end it."""
    ended = report.phase is Phase.ENDED and report.fault is not None
    return ended and not report.attempt and row.status == CaptureStatus.RUNNING


def _end_as_reported(connection: Connection, row: AnyRow, report: CaptureReport, now: datetime) -> bool:
    report = _with_instant(report, row.report)
    if report.fault is None and row.status == CaptureStatus.PUBLISHING:
        ending = {"status": CaptureStatus.COMPLETED, "phase": Phase.ENDED, "ended_at": now, "updated_at": now}
        return _end(connection, row, now, **ending, report=report, rotated=row.kind != "backup")
    told = report.fault or PublicationUnknown(reason="the agent ended without asking whether it may publish").fault
    return _end(connection, row, now, **_ending(row.cancel or told, now), report=report)


def _ending(why: Fault, now: datetime) -> dict[str, Any]:
    status = CaptureStatus.CANCELLED if why.code in _CANCELS else CaptureStatus.FAILED
    return {"status": status, "phase": Phase.ENDED, "fault": why, "ended_at": now, "updated_at": now}


def _end(connection: Connection, row: AnyRow, now: datetime, **values: Any) -> bool:
    ended = _change(connection, *_unchanged(row), **values)
    if ended:
        _conclude(connection, row.id, now)
    return ended


def _conclude(connection: Connection, capture_id: str, now: datetime) -> None:
    """What follows from an end, whatever it is: the instance is free, and it is told."""
    _release(connection, capture_id, now)
    row = row_of(connection, capture_id)
    if row is not None:
        outbox.put(connection, Event.ERROR if row.fault else Event.END, row, now, row.fault)


def _with_instant(report: CaptureReport, before: CaptureReport | None) -> CaptureReport:
    """A new attempt that has no instant yet does not make the reported one forgotten."""
    if report.instant is not None or before is None or before.instant is None:
        return report
    return replace(report, instant=before.instant)


def _unchanged(row: AnyRow) -> tuple[ColumnElement[bool], ...]:
    """That nobody has decided anything since the row was read."""
    return (
        captures.c.id == row.id,
        captures.c.status == row.status,
        captures.c.token.is_(None) if row.token is None else captures.c.token == row.token,
        captures.c.cancel.is_(None) if row.cancel is None else captures.c.cancel.is_not(None),
    )


def _change(connection: Connection, *conditions: ColumnElement[bool], **values: Any) -> bool:
    return connection.execute(update(captures).where(*conditions).values(**values)).rowcount == 1


def _set_task_state(connection: Connection, row: AnyRow, phase: Phase, now: datetime) -> None:
    state = task_state(row.kind, phase)
    connection.execute(
        update(instances)
        .where(instances.c.id == row.instance_id, instances.c.capture_id == row.id)
        .where(or_(instances.c.task_state.is_(None), instances.c.task_state != state))
        .values(task_state=state, updated_at=now)
    )


def _release(connection: Connection, capture_id: str, now: datetime) -> None:
    connection.execute(
        update(instances)
        .where(instances.c.capture_id == capture_id)
        .values(task_state=None, capture_id=None, updated_at=now)
    )
