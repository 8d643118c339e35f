"""What a host reports as its instances, put into the records.

An instance belongs to one host at a time. While a migration shows it on two, it stays where it runs, and the other
host's report of it is kept as a sighting: when the owner no longer has it, the hosts that saw it are asked again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Text, bindparam, delete, insert, select, type_coerce, update

from stillframe import records
from stillframe.controller.paging import chunks
from stillframe.controller.schema import AnyRow, captures, hosts, instances, sightings
from stillframe.model import CaptureStatus, Instance, VmState

_LONGEST = 255  # of the columns that are searched; the document has the whole
_CUT = ("name", "project_id", "user_id", "flavor", "base_image_id")


@dataclass(frozen=True, slots=True)
class _Known:
    """What is recorded of the instances that a host reports or had."""

    own: Mapping[str, AnyRow]  # rows of this host
    others: Mapping[str, AnyRow]  # rows of other hosts for instances that this one reports
    lost: frozenset[str]  # hosts that are lost


def apply(connection: Connection, host: str, reported: Iterable[Instance], now: datetime) -> None:
    """Makes the records say what the host reports: new, changed, come back, gone missing."""
    found = {instance.id: instance for instance in reported}
    known = _known(connection, host, found)
    new = [found[id_] for id_ in sorted(found.keys() - known.own.keys() - known.others.keys())]
    taken = [found[id_] for id_ in sorted(known.others) if _takes_over(known, found[id_])]
    if new:
        connection.execute(insert(instances), [_new(host, instance, now) for instance in new])
    changed = [found[id_] for id_ in sorted(found.keys() & known.own.keys()) if _differs(known.own[id_], found[id_])]
    _rewrite(connection, host, [*changed, *taken], now)
    _keep_sightings(connection, host, known, {instance.id for instance in taken})
    _follow(connection, host, [instance.id for instance in taken])
    missing = sorted(id_ for id_, row in known.own.items() if id_ not in found and row.missing_since is None)
    _mark_missing(connection, missing, now)


def ask_again(connection: Connection, instance_ids: Iterable[str]) -> None:
    """Has the hosts that saw these instances elsewhere send their whole inventory."""
    for some in chunks(sorted(instance_ids)):
        witnesses = select(sightings.c.host).where(sightings.c.instance_id.in_(some))
        connection.execute(update(hosts).where(hosts.c.name.in_(witnesses)).values(inventory_digest=None))


def _known(connection: Connection, host: str, found: Mapping[str, Instance]) -> _Known:
    c = instances.c
    query = select(c.id, c.host, c.vm_state, c.missing_since, type_coerce(c.document, Text).label("text"))
    own = {row.id: row for row in connection.execute(query.where(c.host == host))}
    others: dict[str, AnyRow] = {}
    for some in chunks(sorted(found.keys() - own.keys())):
        others.update((row.id, row) for row in connection.execute(query.where(c.id.in_(some))))
    lost = frozenset(connection.scalars(select(hosts.c.name).where(hosts.c.lost)) if others else ())
    return _Known(own, others, lost)


def _takes_over(known: _Known, instance: Instance) -> bool:
    row = known.others[instance.id]
    runs_only_here = instance.vm_state is VmState.ACTIVE and row.vm_state != VmState.ACTIVE
    return row.missing_since is not None or row.host in known.lost or runs_only_here


def _differs(row: AnyRow, instance: Instance) -> bool:
    return row.missing_since is not None or row.text != records.dumps(instance)


def _rewrite(connection: Connection, host: str, changed: list[Instance], now: datetime) -> None:
    if not changed:
        return
    values = [{"of": instance.id, "host": host, "updated_at": now, **_columns(instance)} for instance in changed]
    names = [name for name in values[0] if name != "of"]
    statement = update(instances).where(instances.c.id == bindparam("of"))
    statement = statement.values(missing_since=None, **{name: bindparam(name) for name in names})
    connection.execute(statement, values)


def _keep_sightings(connection: Connection, host: str, known: _Known, taken: set[str]) -> None:
    """This host's sightings become exactly what it reports of other hosts' instances."""
    connection.execute(delete(sightings).where(sightings.c.host == host))
    seen = [{"instance_id": id_, "host": host} for id_ in sorted(known.others.keys() - taken)]
    left = [
        {"instance_id": id_, "host": known.others[id_].host}
        for id_ in sorted(taken)
        if known.others[id_].missing_since is None  # its former host still reports it
    ]
    if seen or left:
        connection.execute(insert(sightings), [*seen, *left])


def _follow(connection: Connection, host: str, taken: list[str]) -> None:
    """Captures that nobody has begun yet are made where their instance is now."""
    c = captures.c
    for some in chunks(taken):
        waiting = update(captures).where(c.instance_id.in_(some), c.status == CaptureStatus.PENDING)
        connection.execute(waiting.values(host=host, ordered_at=None))


def _mark_missing(connection: Connection, missing: list[str], now: datetime) -> None:
    for some in chunks(missing):
        connection.execute(update(instances).where(instances.c.id.in_(some)).values(missing_since=now))
    ask_again(connection, missing)


def _new(host: str, instance: Instance, now: datetime) -> dict[str, Any]:
    return {"id": instance.id, "host": host, "created_at": now, "updated_at": now, **_columns(instance)}


def _columns(instance: Instance) -> dict[str, Any]:
    words: dict[str, str | None] = {name: getattr(instance, name) for name in _CUT}
    return {
        **{name: word and word[:_LONGEST] for name, word in words.items()},
        "vm_state": instance.vm_state,
        "power_state": instance.power_state,
        "document": instance,
    }
