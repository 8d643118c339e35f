"""A short cut of the fault matrix (`make test-faults` runs all of it): the cells most likely to break."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.matrix import cell
from lab.matrix.lane import Lane, lane

CELLS = (
    "lease.FrozenGuest.taken/kill-alone/backup+directory:running",
    "lease.FrozenGuest.taken/hang/backup+directory:running",
    "lease.FrozenGuest.giving-back/stop/backup+directory:running",
    "lease.FrozenGuest.giving-back/exception/reflink+clone:sharing",
    "lease.SuspendedGuest.taken/kill-alone/reflink+clone:sharing",
    "lease.SuspendedGuest.taken/exception/reflink+directory:sharing",
    "lease.SuspendedGuest.given-back/hang/reflink+clone:sharing",
    "lease.SuspendedGuest.taken/stop/cold+directory:running",
    "lease.BackupJob.journaled/kill/backup+directory:running",
    "lease.BackupJob.giving-back/kill/backup+directory:running",
    "lease.BackupJob.given-back/exception/backup+directory:running",
    "lease.Export.taken/kill/offline+directory:stopped",
    "lease.OwnFile.taken/kill/offline+clone:stopped-sharing",
    "lease.HalfImage.journaled/exception/backup+directory:running",
    "bytes.read/stop/backup+directory:running",
    "bytes.read/kill/backup+directory:restarted",
    "call.begin.after/kill/backup+directory:running",
    "call.commit.after/kill/backup+directory:running",
    "record.commit.after/exception/backup+directory:running",
    "record.cancel.after/kill/backup+directory:cancelled",
    "image.data.placed/kill/backup+directory:running",
    "image.record.placed/exception/backup+directory:running",
    "image.publish.after/kill/offline+clone:stopped-sharing",
    "step.publish.left/exception/reflink+clone:sharing",
    "journal.keep.after/kill/backup+directory:running",
    "journal.ended.before/exception/backup+directory:running",
    "journal.forget.after/exception/backup+directory:running",
    "guard.arm.after/kill/backup+directory:running",
    "lease.DiskSnapshot.taken/kill-alone/snapshot+directory:on-rbd",
    "lease.HalfRbdImage.taken/exception/snapshot+clone:on-rbd",
    "rbd.snap.after/kill/snapshot+clone:on-rbd",
)


@pytest.fixture(scope="module")
def one() -> Iterator[Lane]:
    with lane() as made:
        yield made


@pytest.mark.parametrize("name", CELLS)
def test_whatever_breaks_nothing_is_left(name: str, one: Lane) -> None:
    try:
        cell.run(one, cell.named(name))
    except BaseException:
        one.renew()  # for the next one
        raise
