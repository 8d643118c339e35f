"""What is told of a capture to whoever wants to know, whatever carries it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from stillframe.model import Fault, Instance, TaskState

LOG = logging.getLogger(__name__)


class Event(StrEnum):
    """What has happened: an agent began, the image is there, it will never be there."""

    START = "start"
    END = "end"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Notice:
    """One event of a capture, with the instance as it was then."""

    event: Event
    at: datetime
    image_id: str  # the capture's id, and its first image's
    instance_id: str
    host: str
    request_id: str
    project_id: str | None
    user_id: str | None  # who asked
    instance: Instance | None = None  # None: it was deleted
    task_state: TaskState | None = None
    created_at: datetime | None = None  # the instance, as far as is known here
    updated_at: datetime | None = None
    fault: Fault | None = None  # with ERROR


class Notifier(Protocol):
    """Somebody who tells."""

    def tell(self, notice: Notice) -> None:
        """Returns once it is in safe hands; raises a StillframeError when it has to be told again."""


class Silent:
    """`driver = noop`"""

    def tell(self, notice: Notice) -> None:
        """Nobody wants to know."""


class Logged:
    """`driver = log`"""

    def tell(self, notice: Notice) -> None:
        """One line."""
        why = f": {notice.fault.code}" if notice.fault else ""
        LOG.info(
            "instance.snapshot.%s of %s on %s as image %s%s",
            notice.event,
            notice.instance_id,
            notice.host,
            notice.image_id,
            why,
        )
