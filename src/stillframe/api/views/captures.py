"""Captures: what no OpenStack service has. Times are exact, sizes are bytes, durations say their unit."""

from __future__ import annotations

from typing import Any

from stillframe.api.call import Call
from stillframe.api.views.common import exact, links
from stillframe.model import Capture, Fault, ImageRequest, ImageResult, Progress, Step


def brief(call: Call, capture: Capture) -> dict[str, Any]:
    """An item of GET /captures."""
    return {
        "id": capture.id,
        "server_id": capture.instance_id,
        "name": capture.name,
        "kind": capture.kind,
        "status": capture.status,
        "phase": capture.phase,
        "created_at": exact(capture.created_at),
        "started_at": exact(capture.started_at),
        "ended_at": exact(capture.ended_at),
        "source": capture.way.source if capture.way else None,
        "transfer": capture.way.transfer if capture.way else None,
        "captured_at": exact(capture.instant.captured_at) if capture.instant else None,
        "progress": _progress(capture.progress),
        "links": links(call, "captures", capture.id),
    }


def full(call: Call, capture: Capture, *, operator: bool) -> dict[str, Any]:
    """GET /captures/{id}; with `operator` also where it runs and what only administrators are told."""
    instant, wishes = capture.instant, capture.wishes
    view = brief(call, capture) | {
        "backup_type": capture.backup_type,
        "rotation": capture.rotation,
        "project_id": capture.project_id,
        "user_id": capture.user_id,
        "request_id": capture.request_id,
        "attempt": capture.attempt,
        "refused": list(capture.way.refused) if capture.way else [],
        "consistency": instant.consistency if instant else None,
        "frozen_ms": instant.frozen_ms if instant else None,
        "stopped_ms": instant.stopped_ms if instant else None,
        "wishes": {
            "format": wishes.disk_format,
            "quiesce": wishes.require_quiesce,
            "trim": wishes.trim,
            "cold": wishes.cold,
            "bandwidth": wishes.bandwidth,
        },
        "images": _images(capture),
        "steps": [_step(step, operator=operator) for step in capture.steps],
        "fault": _fault(capture.fault, operator=operator),
    }
    if operator:
        view |= {"host": capture.host, "held": list(capture.held)}
    return view


def _progress(progress: Progress) -> dict[str, Any]:
    left = progress.seconds_left
    return {
        "bytes_done": progress.done,
        "bytes_total": progress.total,
        "percent": round(100 * progress.done / progress.total, 1) if progress.total else None,
        "bytes_per_second": round(progress.rate),
        "seconds_left": None if left is None else round(left, 1),
    }


def _images(capture: Capture) -> list[dict[str, Any]]:
    made = {result.id: result for result in capture.results}
    return [_image(request, made.get(request.id)) for request in capture.images]


def _image(request: ImageRequest, result: ImageResult | None) -> dict[str, Any]:
    return {
        "id": request.id,
        "name": request.name,
        "disk": request.target,
        "disk_format": result.disk_format if result else None,
        "size": result.size if result else None,
        "virtual_size": result.virtual_size if result else None,
        "sha256": result.sha256 if result else None,
        "hashes": dict(result.hashes) if result else {},
    }


def _step(step: Step, *, operator: bool) -> dict[str, Any]:
    view = {
        "name": step.name,
        "started_at": exact(step.started_at),
        "ended_at": exact(step.ended_at),
        "bytes": step.bytes,
        "message": step.message,
        "failed": step.failed,
    }
    return view | {"operator": step.operator} if operator else view


def _fault(fault: Fault | None, *, operator: bool) -> dict[str, Any] | None:
    if fault is None:
        return None
    view = {"code": fault.code, "message": fault.message, "hint": fault.hint}
    return view | {"operator": fault.operator} if operator else view
