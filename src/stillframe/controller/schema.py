"""The tables. What is searched, sorted or compared has a column; what is only read is a document."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Column, ForeignKey, Index, Integer, MetaData, Named, Row, String, Table, TypedColumns

from stillframe.controller.columns import Document, UtcTime
from stillframe.messaging.contract import CaptureReport
from stillframe.messaging.notices import Notice
from stillframe.model import Fault, ImageRequest, Instance, Wishes

AnyRow = Row[*tuple[Any, ...]]

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# MariaDB's own default takes "Blue" and "blue ", names of two projects, for one.
MARIADB: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_nopad_bin"}

UUID = String(36)
NAME = String(255)
WORD = String(32)


class HostColumns(TypedColumns):
    """One row a host whose agent has ever reported."""

    name: Named[str] = Column(NAME, primary_key=True)
    agent_run: Named[str] = Column(NAME)
    previous_run: Named[str | None] = Column(NAME)  # of the agent before this one: what it still says is late
    sequence: Named[int] = Column(Integer)  # of the newest heartbeat of this run
    last_seen: Named[datetime] = Column(UtcTime)
    lost: Named[bool]
    agent_id: Named[str | None] = Column(NAME)  # None: an older release's, which says none
    inventory_digest: Named[str | None] = Column(NAME)  # of what `instances` and `sightings` hold; None: ask again


class InstanceColumns(TypedColumns):
    """One row an instance, on the host that has it."""

    id: Named[str] = Column(UUID, primary_key=True)
    host: Named[str] = Column(NAME)
    name: Named[str] = Column(NAME)
    project_id: Named[str | None] = Column(NAME)
    user_id: Named[str | None] = Column(NAME)
    flavor: Named[str | None] = Column(NAME)
    base_image_id: Named[str | None] = Column(NAME)
    vm_state: Named[str] = Column(WORD)
    power_state: Named[int] = Column(Integer)
    task_state: Named[str | None] = Column(WORD)
    capture_id: Named[str | None] = Column(UUID)  # the capture that holds the task_state
    created_at: Named[datetime] = Column(UtcTime)
    updated_at: Named[datetime] = Column(UtcTime)
    missing_since: Named[datetime | None] = Column(UtcTime)  # its host no longer reports it
    document: Named[Instance] = Column(Document(Instance))


class SightingColumns(TypedColumns):
    """An instance that a host reports while another one has it, as in a migration."""

    instance_id: Named[str] = Column(UUID, ForeignKey("instances.id", ondelete="CASCADE"), primary_key=True)
    host: Named[str] = Column(NAME, primary_key=True)


class ReservationColumns(TypedColumns):
    """One row an image whose record outside may have to be taken back."""

    image_id: Named[str] = Column(UUID, primary_key=True)
    capture_id: Named[str] = Column(UUID)
    made: Named[bool]  # False: whoever accepted the capture is about to make the record, and no agent may begin


class NovaLockColumns(TypedColumns):
    """One row a capture for which Nova's server is locked."""

    capture_id: Named[str] = Column(UUID, primary_key=True)
    instance_id: Named[str] = Column(UUID)
    made: Named[bool]  # False: whoever accepted the capture is about to lock it, and no agent may begin


class VolumeSetColumns(TypedColumns):
    """One row a capture that is snapshots of Cinder's volumes: see volumesets.py."""

    capture_id: Named[str] = Column(UUID, primary_key=True)
    attempt: Named[str | None] = Column(WORD)  # whose guest stands still; None: none does yet
    properties: Named[dict[str, str] | None] = Column(Document(dict[str, str]))  # of the image, once they are taken
    closed: Named[bool]  # False: Cinder may still be asked for more of them


class CaptureColumns(TypedColumns):
    """One row a capture. It outlives its instance, so nothing refers to that row."""

    id: Named[str] = Column(UUID, primary_key=True)
    instance_id: Named[str] = Column(UUID)
    host: Named[str] = Column(NAME)
    project_id: Named[str | None] = Column(NAME)  # of the instance
    user_id: Named[str | None] = Column(NAME)  # who asked
    request_id: Named[str] = Column(NAME)
    name: Named[str] = Column(NAME)
    kind: Named[str] = Column(WORD)
    backup_type: Named[str | None] = Column(NAME)
    rotation: Named[int | None] = Column(Integer)
    rotated: Named[bool]  # False: a finished backup whose rotation is still to be done
    retired: Named[bool]  # a finished backup whose image is known to be gone
    status: Named[str] = Column(WORD)
    phase: Named[str] = Column(WORD)
    attempt: Named[int] = Column(Integer)  # how many have begun
    token: Named[str | None] = Column(WORD)  # of the newest attempt; None: none has begun
    agent_run: Named[str | None] = Column(NAME)  # that began it
    created_at: Named[datetime] = Column(UtcTime)
    updated_at: Named[datetime] = Column(UtcTime)
    ordered_at: Named[datetime | None] = Column(UtcTime)  # its host was told of it; None: it waits for its turn
    started_at: Named[datetime | None] = Column(UtcTime)
    ended_at: Named[datetime | None] = Column(UtcTime)
    images: Named[tuple[ImageRequest, ...]] = Column(Document(tuple[ImageRequest, ...]))
    wishes: Named[Wishes] = Column(Document(Wishes))
    report: Named[CaptureReport | None] = Column(Document(CaptureReport))  # the newest that counted
    cancel: Named[Fault | None] = Column(Document(Fault))  # why it shall stop
    fault: Named[Fault | None] = Column(Document(Fault))  # why it has ended


class ClaimColumns(TypedColumns):
    """A piece of work that one of several controllers does."""

    name: Named[str] = Column(NAME, primary_key=True)
    owner: Named[str] = Column(NAME)
    until: Named[datetime] = Column(UtcTime)  # by the database's clock


class NoticeColumns(TypedColumns):
    """One row an event of a capture that is still to be told."""

    id: Named[int] = Column(Integer, primary_key=True)  # in the order they happened
    document: Named[Notice] = Column(Document(Notice))


hosts = Table("hosts", metadata, HostColumns, **MARIADB)
instances = Table(
    "instances",
    metadata,
    InstanceColumns,
    Index(None, "host"),
    Index(None, "created_at", "id"),
    Index(None, "project_id", "created_at", "id"),
    Index(None, "missing_since"),
    Index(None, "capture_id"),
    **MARIADB,
)
notices = Table("notices", metadata, NoticeColumns, **MARIADB)
sightings = Table("sightings", metadata, SightingColumns, Index(None, "host"), **MARIADB)
reservations = Table("reservations", metadata, ReservationColumns, Index(None, "capture_id"), **MARIADB)
novalocks = Table("novalocks", metadata, NovaLockColumns, **MARIADB)
volume_sets = Table("volume_sets", metadata, VolumeSetColumns, **MARIADB)
captures = Table(
    "captures",
    metadata,
    CaptureColumns,
    Index(None, "created_at", "id"),
    Index(None, "project_id", "created_at", "id"),
    Index(None, "instance_id", "created_at", "id"),
    Index(None, "status", "created_at", "id"),
    Index(None, "host", "status"),
    Index(None, "kind", "rotated"),
    Index(None, "ended_at"),
    Index(None, "host", "project_id", "ordered_at"),
    **MARIADB,
)
claims = Table("claims", metadata, ClaimColumns, **MARIADB)
