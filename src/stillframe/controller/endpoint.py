"""What agents ask of the controller."""

from __future__ import annotations

from stillframe import config
from stillframe.controller.database import Database
from stillframe.messaging.contract import HostReport, Orders


class ControllerEndpoint:
    """The controller's side of messaging.contract.ControllerApi; any number of threads at once."""

    def __init__(self, db: Database, settings: config.Controller) -> None:
        self._db = db
        self._settings = settings

    def heartbeat(self, report: HostReport) -> Orders:
        """See ControllerApi."""
        raise NotImplementedError

    def begin(self, capture_id: str, host: str, agent_run: str) -> str:
        """See ControllerApi."""
        raise NotImplementedError

    def commit(self, capture_id: str, attempt: str) -> None:
        """See ControllerApi."""
        raise NotImplementedError
