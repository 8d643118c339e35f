"""Captures as the API asks for them: accept, cancel, look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from stillframe.controller.database import Database
from stillframe.messaging.contract import AgentApi
from stillframe.model import Capture, CaptureStatus, Image, ImageRequest, Wishes


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
        raise NotImplementedError

    def cancel(self, capture_id: str, project: str | None) -> Capture:
        """Ends a capture that no agent has begun, has any other stopped; asking again changes nothing.

        Raises CaptureNotFound, or CaptureEnded when it has ended otherwise or is being published.
        """
        raise NotImplementedError

    def get(self, capture_id: str, project: str | None) -> Capture:
        """The capture, if its instance is of this project (None: of any); raises CaptureNotFound."""
        raise NotImplementedError

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
        raise NotImplementedError

    def of_image(self, image_id: str, project: str | None) -> Capture:
        """The capture not ended that is making this image; raises ImageNotFound."""
        raise NotImplementedError

    def pending_image(self, image_id: str, project: str | None) -> Image:
        """An image that is being made, as queued or saving; raises ImageNotFound."""
        raise NotImplementedError

    def pending_images(self, project: str | None) -> tuple[Image, ...]:
        """All images that are being made, newest first. As many as captures not ended: at most one an instance."""
        raise NotImplementedError

    def counts(self) -> dict[CaptureStatus, int]:
        """How many captures stand where; every status has its number."""
        raise NotImplementedError
