"""Which source and which transfer, and why not a cheaper one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from stillframe.capture.sources import Source
from stillframe.capture.sources.backup import Backup
from stillframe.capture.sources.cold import Cold
from stillframe.capture.sources.offline import Offline
from stillframe.capture.sources.reflink import Reflink
from stillframe.capture.sources.snapshot import Snapshot
from stillframe.capture.sources.volumes import Volumes
from stillframe.capture.subject import Subject
from stillframe.capture.tools import Tools
from stillframe.capture.transfers import Transfer
from stillframe.capture.transfers.clone import Clone
from stillframe.capture.transfers.directory import Directory
from stillframe.capture.transfers.rbdclone import RbdClone
from stillframe.capture.transfers.rbdimport import RbdImport
from stillframe.capture.transfers.record import Record
from stillframe.capture.transfers.upload import Upload
from stillframe.errors.base import StillframeError
from stillframe.errors.capture import NoWay
from stillframe.images.directory import DirectoryStore
from stillframe.images.glancestore import GlanceStore
from stillframe.model import Way

Pair = tuple[Source, Transfer]

# In order of cost: what moves no bytes before what does, what keeps no scratch before what does. Where images are to be
# on RBD (`import`), that goes before a cheaper way to have them elsewhere.
SNAPSHOT, REFLINK, BACKUP, OFFLINE, COLD = Snapshot(), Reflink(), Backup(), Offline(), Cold()
CLONE, DIRECTORY, UPLOAD, RBD_CLONE, RBD_IMPORT = Clone(), Directory(), Upload(), RbdClone(), RbdImport()
VOLUMES, RECORD = Volumes(), Record()  # the one way to an image without data, and no way to any other
PAIRS: tuple[Pair, ...] = (
    (VOLUMES, RECORD),
    (COLD, RBD_IMPORT),
    (COLD, DIRECTORY),
    (COLD, UPLOAD),
    (SNAPSHOT, RBD_CLONE),
    (SNAPSHOT, RBD_IMPORT),
    (SNAPSHOT, DIRECTORY),
    (SNAPSHOT, UPLOAD),
    (REFLINK, RBD_IMPORT),
    (REFLINK, CLONE),
    (REFLINK, DIRECTORY),
    (REFLINK, UPLOAD),
    (BACKUP, RBD_IMPORT),
    (BACKUP, DIRECTORY),
    (BACKUP, UPLOAD),
    (OFFLINE, RBD_IMPORT),
    (OFFLINE, CLONE),
    (OFFLINE, DIRECTORY),
    (OFFLINE, UPLOAD),
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A way that cannot be gone, and why."""

    way: str
    reason: str
    operator: str = ""  # as a fault's

    def __str__(self) -> str:
        return f"{self.way}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Choice:
    """A pair that can be tried, and the cheaper ones that cannot."""

    source: Source
    transfer: Transfer
    refused: tuple[Refusal, ...]

    @property
    def way(self) -> Way:
        """As it is recorded."""
        return Way(self.source.name, self.transfer.name, tuple(map(str, self.refused)))


def source_named(name: str) -> Source:
    """The source of a hold that the journal kept."""
    return next(source for source, _ in PAIRS if source.name == name)


def plan(subject: Subject, tools: Tools) -> tuple[Choice, ...]:
    """The pairs that can capture this subject, cheapest first; raises NoWay when there is none.

    Raises StoreUnusable for an image directory that is gone or read-only: no guest is frozen for that.
    """
    if isinstance(tools.store, DirectoryStore):
        tools.store.check()
    choices = []
    refused: list[Refusal] = []
    for source, pairs in groupby(_considered(subject, tools), key=lambda pair: pair[0].name):
        transfers = list(pairs)
        if refusal := _refusal(source, partial(transfers[0][0].obstacle, subject, tools)):
            refused.append(refusal)
            continue
        for holder, transfer in transfers:
            if refusal := _refusal(f"{source}+{transfer.name}", partial(transfer.obstacle, subject, source, tools)):
                refused.append(refusal)
            else:
                choices.append(Choice(holder, transfer, tuple(refused)))
    if not choices:
        disks = ", ".join(wanted.disk.target for wanted in subject.wanted)
        operator = "; ".join(refusal.operator for refusal in refused if refusal.operator)
        reasons = "; ".join(map(str, refused))
        raise NoWay(disk=disks, instance=subject.instance.id, reasons=reasons, operator=operator)
    return tuple(choices)


def _refusal(way: str, obstacle: Callable[[], str | None]) -> Refusal | None:
    """What stands against the way: words, or a failure to find out."""
    try:
        reason = obstacle()
    except StillframeError as error:
        return Refusal(way, error.fault.message.rstrip("."), error.fault.operator)
    return Refusal(way, reason) if reason else None


def _considered(subject: Subject, tools: Tools) -> Iterator[Pair]:
    """What has anything to do with this subject here: nobody wants to read why Ceph does not serve a disk in a file."""
    on_rbd = any(layer.rbd for wanted in subject.wanted for layer in wanted.disk.chain)
    elsewhere = (CLONE, DIRECTORY) if isinstance(tools.store, GlanceStore) else (UPLOAD,)
    for source, transfer in PAIRS:
        if (source is VOLUMES) != subject.volumes:
            continue
        if source is COLD and not subject.cold:
            continue
        if source is SNAPSHOT and not on_rbd:
            continue
        if transfer is RBD_IMPORT and not tools.ceph.options.convert_ceph_raw_for_qcow2:
            continue
        if transfer in elsewhere:
            continue
        yield source, transfer


def of_source(choices: tuple[Choice, ...], name: str) -> Iterator[Choice]:
    """Those that start from this source, which may be tried one after another from the same instant."""
    return (choice for choice in choices if choice.source.name == name)
