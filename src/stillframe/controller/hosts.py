"""Hosts as health checks ask for them."""

from __future__ import annotations

from sqlalchemy import select

from stillframe.controller import views
from stillframe.controller.database import Database
from stillframe.controller.schema import hosts
from stillframe.model import Host


class Hosts:
    """The hypervisor hosts whose agents have reported."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def list(self) -> list[Host]:
        """Every host, by name."""
        query = select(hosts).order_by(hosts.c.name)
        return [views.host(row) for row in self._db.read(lambda connection: connection.execute(query).all())]
