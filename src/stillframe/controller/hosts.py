"""Hosts as health checks ask for them."""

from __future__ import annotations

from stillframe.controller.database import Database
from stillframe.model import Host


class Hosts:
    """The hypervisor hosts whose agents have reported."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def list(self) -> list[Host]:
        """Every host, by name."""
        raise NotImplementedError
