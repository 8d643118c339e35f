"""Instance actions: a capture as Nova's clients know it.

The action is there while the capture is; its one event ends when the capture ends, with what really became of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stillframe.api.call import Call
from stillframe.api.views.common import host_id, naive
from stillframe.model import Capture, CaptureStatus

ACTIONS = {"snapshot": "createImage", "backup": "createBackup"}
EVENTS = {"snapshot": "compute_snapshot_instance", "backup": "compute_backup_instance"}


@dataclass(frozen=True, slots=True)
class Sight:
    """What the caller may see of events."""

    events: bool  # the host and the traceback; before 2.51 the events at all
    details: bool
    operator: bool


def brief(call: Call, capture: Capture) -> dict[str, Any]:
    """An item of GET /servers/{id}/os-instance-actions."""
    view = {
        "action": ACTIONS[capture.kind],
        "instance_uuid": capture.instance_id,
        "request_id": capture.request_id,
        "user_id": capture.user_id,
        "project_id": capture.project_id,
        "start_time": naive(capture.created_at),
        "message": "Error" if capture.status in (CaptureStatus.FAILED, CaptureStatus.CANCELLED) else None,
    }
    if call.version >= (2, 58):
        view["updated_at"] = naive(capture.ended_at or capture.started_at or capture.created_at)
    return view


def full(call: Call, capture: Capture, sight: Sight) -> dict[str, Any]:
    """GET /servers/{id}/os-instance-actions/{request id}."""
    view = brief(call, capture)
    if sight.events or call.version >= (2, 51):
        view["events"] = [_event(call, capture, sight)]
    return view


def _event(call: Call, capture: Capture, sight: Sight) -> dict[str, Any]:
    view: dict[str, Any] = {
        "event": EVENTS[capture.kind],
        "start_time": naive(capture.started_at or capture.created_at),
        "finish_time": naive(capture.ended_at) if capture.ended_at else None,
        "result": _result(capture.status),
    }
    if sight.events:
        view["traceback"] = None
    if call.version >= (2, 62):
        view["hostId"] = host_id(capture.host, capture.project_id)
        if sight.events:
            view["host"] = capture.host
    if call.version >= (2, 84) and sight.details:
        view["details"] = _details(capture, sight)
    return view


def _result(status: CaptureStatus) -> str | None:
    if not status.final:
        return None
    return "Success" if status == CaptureStatus.COMPLETED else "Error"


def _details(capture: Capture, sight: Sight) -> str | None:
    """The cause, for those who may see it; the operator's part in addition."""
    fault = capture.fault
    if fault is None:
        return None
    return f"{fault.message} ({fault.operator})" if fault.operator and sight.operator else fault.message
