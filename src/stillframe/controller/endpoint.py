"""What agents ask of the controller."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from stillframe import config, failpoints
from stillframe.controller import admission, decisions, inventory, novalocks, reservations, views, volumesets
from stillframe.controller.database import Database
from stillframe.controller.paging import chunks
from stillframe.controller.schema import AnyRow, captures, hosts
from stillframe.errors.capture import HostTaken, Superseded
from stillframe.messaging.contract import CaptureReport, HostReport, Orders
from stillframe.model import CaptureStatus, Phase, now


class ControllerEndpoint:
    """The controller's side of messaging.contract.ControllerApi; any number of threads at once."""

    def __init__(self, db: Database, options: config.Controller) -> None:
        self._db = db
        self._options = options

    @failpoints.around("call.heartbeat")
    def heartbeat(self, report: HostReport) -> Orders:
        """See ControllerApi. A late report, of this run or of the one before, changes nothing."""
        return self._db.write(_heartbeat, report, self._options)

    @failpoints.around("call.begin")
    def begin(self, capture_id: str, host: str, agent_run: str) -> str:
        """See ControllerApi."""
        token, reason = self._db.write(_begin, capture_id, host, agent_run)
        if token is None:
            raise Superseded(reason=reason)
        return token

    @failpoints.around("call.commit")
    def commit(self, capture_id: str, attempt: str) -> None:
        """See ControllerApi."""
        granted, reason = self._db.write(_commit, capture_id, attempt)
        if not granted:
            raise Superseded(reason=reason)

    @failpoints.around("call.stand_still")
    def stand_still(self, capture_id: str, attempt: str) -> bool:
        """See ControllerApi."""
        taken, over = self._db.write(volumesets.stand_still, capture_id, attempt)
        if over:
            raise Superseded(reason=over)
        return taken


def _heartbeat(connection: Connection, report: HostReport, options: config.Controller) -> Orders:
    at = now()
    if not _heard(connection, report, at):
        return _orders(admission.in_hand(_open(connection, report.host))) if _current(connection, report) else Orders()
    recorded = _note_all(connection, report, at)
    send_inventory = _note_inventory(connection, report, at)
    open_ = _without_unheld(connection, _open(connection, report.host), report, at)
    wanted = admission.admitted(connection, report.host, open_, options, at)
    return _orders(wanted, recorded, send_inventory=send_inventory)


def _begin(connection: Connection, capture_id: str, host: str, agent_run: str) -> tuple[str | None, str]:
    """The token, or why there is none."""
    token = decisions.begin(connection, capture_id, host, agent_run, now())
    return token, "" if token else decisions.refusal(connection, capture_id, agent_run, now())


def _commit(connection: Connection, capture_id: str, attempt: str) -> tuple[bool, str]:
    """Whether it is granted, or why not."""
    granted = decisions.commit(connection, capture_id, attempt, now())
    return granted, "" if granted else decisions.refusal(connection, capture_id, None, now())


def _heard(connection: Connection, report: HostReport, at: datetime) -> bool:
    """Notes that the host lives; False when the report is older than what is known already; raises HostTaken."""
    c = hosts.c
    seen = {"last_seen": at, "lost": False, "sequence": report.sequence}
    if report.agent_id:
        seen["agent_id"] = report.agent_id
    row = connection.execute(select(hosts).where(c.name == report.host).with_for_update()).one_or_none()
    if row is None:
        connection.execute(insert(hosts).values(name=report.host, agent_run=report.agent_run, **seen))
        return True
    if not row.lost and report.agent_id and row.agent_id not in (None, report.agent_id):
        raise HostTaken(host=row.name, since=row.last_seen.isoformat(timespec="seconds"))
    mine = update(hosts).where(c.name == report.host)
    if row.agent_run != report.agent_run:
        if report.agent_run == row.previous_run:
            return False
        connection.execute(mine.values(agent_run=report.agent_run, previous_run=row.agent_run, **seen))
        return True
    if report.sequence and report.sequence <= row.sequence:
        return False
    connection.execute(mine.values(**seen))
    return True


def _current(connection: Connection, report: HostReport) -> bool:
    return connection.scalar(select(hosts.c.agent_run).where(hosts.c.name == report.host)) == report.agent_run


def _note_all(connection: Connection, report: HostReport, at: datetime) -> tuple[str, ...]:
    """Takes note of every capture in the report; ids of those whose end is recorded, or can be nowhere any more."""
    told = {capture.capture_id: capture for capture in report.captures}
    rows = {row.id: row for some in chunks(sorted(told)) for row in _rows(connection, some)}
    return tuple(id_ for id_, capture in told.items() if _note(connection, rows.get(id_), report.host, capture, at))


def _note(connection: Connection, row: AnyRow | None, host: str, told: CaptureReport, at: datetime) -> bool:
    if row is None or row.host != host:
        return told.phase is Phase.ENDED
    if not CaptureStatus(row.status).final:
        return decisions.note(connection, row, told, at)
    if told.phase is Phase.ENDED:
        _note_aftermath(connection, row, told)
    return told.phase is Phase.ENDED


def _note_aftermath(connection: Connection, row: AnyRow, told: CaptureReport) -> None:
    """After the end only the giving back goes on: it is shown, and nothing else can change."""
    before = row.report or replace(told, images=(), way=None, instant=None)
    after = replace(before, steps=told.steps, held=told.held)
    if told.attempt == (row.token or "") and after != row.report:
        connection.execute(update(captures).where(captures.c.id == row.id).values(report=after))


def _note_inventory(connection: Connection, report: HostReport, at: datetime) -> bool:
    """Applies the inventory if there is news; True when there is and the report does not have it."""
    if report.inventory_digest is None:
        return False
    mine = hosts.c.name == report.host
    if connection.scalar(select(hosts.c.inventory_digest).where(mine)) == report.inventory_digest:
        return False
    if report.inventory is None:
        return True
    inventory.apply(connection, report.host, report.inventory, at)
    connection.execute(update(hosts).where(mine).values(inventory_digest=report.inventory_digest))
    return False


def _without_unheld(
    connection: Connection, rows: Sequence[AnyRow], report: HostReport, at: datetime
) -> Sequence[AnyRow]:
    """Ends what is to stop and is in nobody's hands any more, as when the agent's journal was lost; the others."""
    told = {capture.capture_id for capture in report.captures}
    unheld = [row for row in rows if row.cancel is not None and row.id not in told]
    ended = {row.id for row in unheld if decisions.fail(connection, row, row.cancel, at)}
    return [row for row in rows if row.id not in ended]


def _orders(rows: Iterable[AnyRow], recorded: tuple[str, ...] = (), *, send_inventory: bool = False) -> Orders:
    return Orders(tuple(views.order(row) for row in rows), recorded, send_inventory)


def _open(connection: Connection, host: str) -> Sequence[AnyRow]:
    """The host's captures that have not ended and may be begun, oldest first."""
    c = captures.c
    query = select(captures).where(c.host == host, c.status.in_(decisions.OPEN))
    query = query.where(c.id.not_in(reservations.unmade()), c.id.not_in(novalocks.unmade()))
    return connection.execute(query.order_by(c.created_at, c.id)).all()


def _rows(connection: Connection, ids: Iterable[str]) -> Iterable[AnyRow]:
    return connection.execute(select(captures).where(captures.c.id.in_(ids)))
