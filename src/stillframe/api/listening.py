"""Sockets to listen on: a Unix socket that is never open to more people than it should be, and TCP."""

from __future__ import annotations

import grp
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stillframe.errors.service import AddressInUse, ConfigInvalid

BACKLOG = 128
ANSWERS_WITHIN = 2.0  # seconds, for a service that might still listen on the socket


def unix_socket(path: Path, group: str | None) -> socket.socket:
    """A listening Unix socket, for its owner only (0600) or for a group too (0660); a stale one is replaced.

    It is bound in a directory of its own and put in place by a rename once owner and mode are right, so that nobody
    else can connect in between. Raises AddressInUse, ConfigInvalid.
    """
    gid = _gid(group)
    _check_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with tempfile.TemporaryDirectory(prefix=".s", dir=path.parent) as private:
            bound = Path(private, "s")
            with _short(bound) as address:
                listener.bind(address)
            if gid is not None:
                os.chown(bound, -1, gid)
            bound.chmod(0o600 if gid is None else 0o660)
            listener.listen(BACKLOG)
            bound.rename(path)
    except OSError as error:
        listener.close()
        raise AddressInUse(address=str(path), reason=_words(error)) from error
    return listener


def tcp_socket(listen: str) -> socket.socket:
    """A socket that listens on ADDRESS:PORT; raises AddressInUse."""
    address, _, port = listen.rpartition(":")
    try:
        found = socket.getaddrinfo(address.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, place = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listener.bind(place)
            listener.listen(BACKLOG)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise AddressInUse(address=listen, reason=_words(error)) from error
    return listener


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """The path by way of its directory's descriptor: sockaddr_un has 107 bytes at the most."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def _check_stale(path: Path) -> None:
    """Raises AddressInUse when somebody answers there, or when it is no socket."""
    if path.exists() and not path.is_socket():
        raise AddressInUse(address=str(path), reason="it is there already, and it is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(ANSWERS_WITHIN)
        try:
            with _short(path) as address:
                probe.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            return
        except OSError as error:
            raise AddressInUse(address=str(path), reason=_words(error)) from error
    raise AddressInUse(address=str(path), reason="another service answers there")


def _gid(group: str | None) -> int | None:
    if group is None:
        return None
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise ConfigInvalid(reason=f"[api] socket_group: this machine has no group {group}") from error


def _words(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)
