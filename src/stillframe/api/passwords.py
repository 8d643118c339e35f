"""The password file: lines of USER:BCRYPT_HASH[:PROJECT[:ROLE,ROLE]]; `#` begins a comment."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import bcrypt

from stillframe.api.call import Caller
from stillframe.errors.service import ConfigInvalid

LOG = logging.getLogger(__name__)

_HASH = re.compile(r"\$2[aby]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}")
LONGEST = 72  # bytes: bcrypt reads no further
REMEMBERED_SECONDS = 300.0  # a check costs a quarter of a second of processor time
REMEMBERED_MOST = 1024
IMPLIED = {
    "admin": {"admin", "manager", "member", "reader"},
    "manager": {"manager", "member", "reader"},
    "member": {"member", "reader"},
}


def with_implied(roles: frozenset[str]) -> frozenset[str]:
    """The roles and those that they imply, as Keystone's bootstrap has it: admin, manager, member, reader."""
    return roles.union(*(IMPLIED.get(role, {role}) for role in roles)) if roles else roles


def hashed(password: str) -> str:
    """The bcrypt hash for a line of the file; raises ValueError for an empty or too long password."""
    data = password.encode()
    if not 0 < len(data) <= LONGEST:
        raise ValueError(f"A password has 1 to {LONGEST} bytes; this one has {len(data)}.")
    return bcrypt.hashpw(data, bcrypt.gensalt()).decode()


@dataclass(frozen=True, slots=True)
class Entry:
    """A user of the file."""

    hash: bytes
    caller: Caller


def parse(text: str, default_project: str) -> dict[str, Entry]:
    """The users of a password file; raises ValueError that names the line."""
    users: dict[str, Entry] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        user, hash_, project, roles, *more = [*line.split(":"), "", "", ""][: max(4, line.count(":") + 1)]
        if not user or not _HASH.fullmatch(hash_) or more:
            raise ValueError(f"line {number} is not USER:BCRYPT_HASH[:PROJECT[:ROLE,ROLE]]")
        if user in users:
            raise ValueError(f"line {number} names the user {user} again")
        named = frozenset(role.strip() for role in roles.split(",") if role.strip()) or frozenset({"member"})
        users[user] = Entry(hash_.encode(), Caller(user, project or default_project, with_implied(named)))
    return users


class PasswordFile:
    """Checks names and passwords; a changed file is read anew. Good checks are remembered, never in plain text."""

    def __init__(self, path: Path, default_project: str) -> None:
        self._path = path
        self._project = default_project
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._good: OrderedDict[bytes, float] = OrderedDict()
        self._stamp, self._users = self._read()
        self._nobody = _costing_as_much(self._users.values())

    def caller(self, user: str, password: str) -> Caller | None:
        """Who this is; None when name or password is wrong, and both cost the same time."""
        entry = self._current().get(user)
        data = password.encode()
        if entry is not None and self._remembered(self._digest(user, entry.hash, data)):
            return entry.caller
        good = bcrypt.checkpw(data[:LONGEST], entry.hash if entry else self._nobody)
        if entry is None or not good or len(data) > LONGEST:
            return None
        self._remember(self._digest(user, entry.hash, data))
        return entry.caller

    def _digest(self, user: str, hash_: bytes, password: bytes) -> bytes:
        """Bound to the stored hash, so that a changed password forgets the old one."""
        mixed = hashlib.blake2b(key=self._key, digest_size=32)
        for part in (user.encode(), hash_, password):
            mixed.update(len(part).to_bytes(8, "big") + part)
        return mixed.digest()

    def _remembered(self, digest: bytes) -> bool:
        with self._lock:
            until = self._good.get(digest)
            return until is not None and time.monotonic() < until

    def _remember(self, digest: bytes) -> None:
        with self._lock:
            self._good[digest] = time.monotonic() + REMEMBERED_SECONDS
            self._good.move_to_end(digest)
            while len(self._good) > REMEMBERED_MOST:
                self._good.popitem(last=False)

    def _current(self) -> dict[str, Entry]:
        """The users as the file has them now; while it cannot be read, nobody is let in."""
        try:
            if _stamp(self._path) != self._stamp:
                stamp, users = self._read()
                with self._lock:
                    self._stamp, self._users, self._nobody = stamp, users, _costing_as_much(users.values())
        except (ConfigInvalid, OSError) as error:
            LOG.warning("nobody can sign in with a password: %s", error)
            return {}
        return self._users

    def _read(self) -> tuple[tuple[int, int, int], dict[str, Entry]]:
        try:
            stamp = _stamp(self._path)
            return stamp, parse(self._path.read_text(encoding="utf-8"), self._project)
        except (OSError, ValueError) as error:
            raise ConfigInvalid(reason=f"[api] password_file {self._path}: {error}") from error


def _costing_as_much(entries: Iterable[Entry]) -> bytes:
    """A hash of nobody's password that takes as long to check as the dearest of the file's."""
    rounds = max((int(entry.hash.split(b"$")[2]) for entry in entries), default=12)
    return bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt(rounds=rounds))


def _stamp(path: Path) -> tuple[int, int, int]:
    status = os.stat(path)  # noqa: PTH116 - one call a request
    return status.st_mtime_ns, status.st_size, status.st_ino
