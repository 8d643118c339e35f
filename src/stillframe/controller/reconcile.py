"""What ends without anybody asking: captures of lost hosts, instances that are gone, old records."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from stillframe import config
from stillframe.controller.database import Database
from stillframe.messaging.contract import AgentApi


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What one run changed."""

    hosts_lost: tuple[str, ...] = ()
    captures_ended: tuple[str, ...] = ()
    instances_gone: tuple[str, ...] = ()
    captures_pruned: int = 0


class Reconciler:
    """Runs every few seconds from one thread; several controllers may do so at once.

    Waiting is measured with the monotonic clock from the moment this process first saw the thing unchanged, so
    neither a clock that jumps nor a controller that was down makes anything look lost.
    """

    def __init__(
        self,
        db: Database,
        settings: config.Controller,
        agents: AgentApi,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._settings = settings
        self._agents = agents
        self._clock = clock

    def run_once(self, now: datetime) -> Reconciled:
        """One look at everything, in bounded batches; `now` only tells which finished captures are old."""
        raise NotImplementedError
