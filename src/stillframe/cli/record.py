"""A capture as the API tells it, as far as the commands look inside. The rest is passed on as it came."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stillframe.cli.text import moment
from stillframe.model import CaptureStatus, Fault, Progress


@dataclass(frozen=True, slots=True)
class Step:
    """An entry of the timeline; times are aware, seconds is None while it runs."""

    name: str
    started_at: datetime
    ended_at: datetime | None
    message: str
    bytes: int | None
    failed: bool
    operator: str = ""  # what only administrators are told

    @property
    def seconds(self) -> float | None:
        """How long it took."""
        return (self.ended_at - self.started_at).total_seconds() if self.ended_at else None


@dataclass(frozen=True, slots=True)
class Record:
    """What waiting and printing need of a capture."""

    id: str
    name: str
    status: CaptureStatus
    progress: Progress
    steps: tuple[Step, ...]
    fault: Fault | None

    @property
    def running(self) -> Step | None:
        """The step that is being done."""
        return next((step for step in reversed(self.steps) if step.ended_at is None), None)


def record(data: Mapping[str, Any]) -> Record:
    """The record in a capture's JSON object."""
    return Record(
        id=data["id"],
        name=data.get("name") or "",
        status=CaptureStatus(data["status"]),
        progress=progress(data.get("progress") or {}),
        steps=steps(data.get("steps") or ()),
        fault=_fault(data.get("fault")),
    )


def progress(data: Mapping[str, Any]) -> Progress:
    """How far the bytes are."""
    return Progress(data.get("bytes_done") or 0, data.get("bytes_total") or 0, data.get("bytes_per_second") or 0.0)


def steps(data: Iterable[Mapping[str, Any]]) -> tuple[Step, ...]:
    """The timeline in a capture's JSON object."""
    return tuple(_step(step) for step in data)


def _step(data: Mapping[str, Any]) -> Step:
    return Step(
        name=data["name"],
        started_at=datetime.fromisoformat(data["started_at"]),
        ended_at=moment(data.get("ended_at")),
        message=data.get("message") or "",
        bytes=data.get("bytes"),
        failed=bool(data.get("failed")),
        operator=data.get("operator") or "",
    )


def _fault(data: Mapping[str, Any] | None) -> Fault | None:
    if not data:
        return None
    return Fault(
        code=data.get("code") or "unknown",
        message=data.get("message") or "",
        hint=data.get("hint") or "",
        operator=data.get("operator") or "",
        status=data.get("status") or 500,
    )
