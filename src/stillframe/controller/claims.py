"""Who of several controllers does a piece of work, for how long: so that no two do the same outside at once.

By the database's clock, which all of them share. A controller that dies loses its claims when their time is over, or
when that clock is set back so far that no claim could have been taken.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from sqlalchemy import Connection, delete, insert, or_, select, update

from stillframe.controller import backends
from stillframe.controller.database import Database
from stillframe.controller.schema import claims
from stillframe.errors.base import StillframeError

CLAIM = 120.0  # seconds: longer than any one call to an image store; prolonged between two
FORGOTTEN = 3600.0  # seconds after which the claim of a dead controller is of no interest any more


class Claims:
    """The claims of one worker: of one thread's reconciler, or rotation."""

    def __init__(self, db: Database, seconds: float = CLAIM) -> None:
        self._db = db
        self._seconds = seconds
        self.owner = f"{socket.gethostname()[:200]}/{os.getpid()}/{secrets.token_hex(4)}"

    def take(self, name: str) -> bool:
        """True: the work of this name is ours for the next `seconds`; asking again prolongs that."""
        return self._db.write(_take, name, self.owner, timedelta(seconds=self._seconds))

    def release(self, name: str) -> None:
        """Whoever asks next may have it."""
        ours = delete(claims).where(claims.c.name == name, claims.c.owner == self.owner)
        self._db.write(lambda connection: connection.execute(ours))

    @contextmanager
    def held(self, name: str) -> Iterator[bool]:
        """Whether it is ours; released at the end, also after a failure: another may reach what this one does not."""
        mine = self.take(name)
        try:
            yield mine
        except BaseException:
            if mine:
                with suppress(StillframeError):  # the failure comes first, and a claim lapses by itself
                    self.release(name)
            raise
        if mine:
            self.release(name)

    def forget_old(self) -> int:
        """Removes what dead controllers left; how many."""
        return self._db.write(_forget, timedelta(seconds=FORGOTTEN))


def _take(connection: Connection, name: str, owner: str, time: timedelta) -> bool:
    c = claims.c
    now = connection.execute(select(backends.clock())).scalar_one()
    beyond = now + 2 * max(time, timedelta(seconds=CLAIM))  # twice: others have read the clock later
    free = update(claims).where(c.name == name, or_(c.owner == owner, c.until <= now, c.until > beyond))
    if connection.execute(free.values(owner=owner, until=now + time)).rowcount:
        return True
    if connection.scalar(select(c.owner).where(c.name == name)) is not None:
        return False
    # Another may insert it first: then this transaction fails, runs again, and sees that.
    connection.execute(insert(claims).values(name=name, owner=owner, until=now + time))
    return True


def _forget(connection: Connection, time: timedelta) -> int:
    now = connection.execute(select(backends.clock())).scalar_one()
    return connection.execute(delete(claims).where(claims.c.until < now - time)).rowcount
