"""Who is asking: the peer of a Unix socket, a name with a password, a user of Keystone, or anybody on loopback."""

from __future__ import annotations

import base64
import binascii
import os
import pwd
from typing import Protocol
from urllib.parse import urlsplit

import falcon

from stillframe.api import tokens
from stillframe.api.call import Caller
from stillframe.api.passwords import PasswordFile, with_implied
from stillframe.config import KEYSTONE, Api
from stillframe.errors.request import Forbidden, NotSignedIn
from stillframe.errors.service import ConfigInvalid

PEER_UID = "X_REMOTE_UID"  # cheroot's WSGI key; clients' headers begin with HTTP_, so that nobody can send it
ADMIN_ROLES = with_implied(frozenset({"admin"}))
LOOPBACK = ("localhost", "127.0.0.1", "::1", "[::1]")
MEMBER_ROLES = with_implied(frozenset({"member"}))


class SignIn(Protocol):
    """A way to tell who asks."""

    def __call__(self, request: falcon.Request) -> Caller:
        """Raises NotSignedIn."""
        ...


class Anybody:
    """`auth = none`: whoever reaches the loopback address is the administrator.

    Except web pages in a browser on this machine: not those of other origins, nor under a name made to point here.
    """

    def __init__(self, project: str, public_url: str | None) -> None:
        self._caller = Caller("admin", project, ADMIN_ROLES)
        self._hosts = {*LOOPBACK, urlsplit(public_url or "").hostname}

    def __call__(self, request: falcon.Request) -> Caller:
        if request.get_header("Origin") or request.host not in self._hosts:
            raise Forbidden(rule="a request of a web page")
        return self._caller


class Password:
    """`auth = http_basic`."""

    def __init__(self, file: PasswordFile) -> None:
        self._file = file

    def __call__(self, request: falcon.Request) -> Caller:
        scheme, _, token = (request.auth or "").partition(" ")
        if scheme.lower() != "basic":
            raise NotSignedIn
        try:
            user, colon, password = base64.b64decode(token.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise NotSignedIn from error
        caller = self._file.caller(user, password) if colon else None
        if caller is None:
            raise NotSignedIn
        return caller


class PeerFirst:
    """The kernel's word for who is at the other end of a Unix socket; else the other way.

    Root and the service's own user are administrators, everybody else is a member of the default project.
    """

    def __init__(self, project: str, other: SignIn) -> None:
        self._project = project
        self._other = other
        self._administrators = {0, os.geteuid()}

    def __call__(self, request: falcon.Request) -> Caller:
        peer = request.env.get(PEER_UID)
        if peer is None:
            return self._other(request)
        uid = int(peer)
        roles = ADMIN_ROLES if uid in self._administrators else MEMBER_ROLES
        return Caller(_name(uid), self._project, roles)


class TokenFirst:
    """`auth = keystone`. The administrators of a Unix socket's host need no token, unless they send one."""

    def __init__(self, project: str) -> None:
        self._peer = PeerFirst(project, tokens.caller)

    def __call__(self, request: falcon.Request) -> Caller:
        peer = self._peer(request) if request.get_header(tokens.HEADER) is None else None
        return peer if peer is not None and "admin" in peer.roles else tokens.caller(request)


class Nobody:
    """No address to listen on: only the Unix socket's peers are known."""

    def __call__(self, request: falcon.Request) -> Caller:  # noqa: ARG002
        raise NotSignedIn


def sign_in(settings: Api) -> SignIn:
    """The way that the options ask for; raises ConfigInvalid."""
    if not settings.project:
        raise ConfigInvalid(reason="[api] project is empty")
    if settings.auth == KEYSTONE:
        return TokenFirst(settings.project)
    if settings.auth == "none":
        return PeerFirst(settings.project, Anybody(settings.project, settings.public_url))
    if settings.password_file is None:
        if settings.listen is not None:
            raise ConfigInvalid(reason="[api] auth = http_basic needs password_file")
        return PeerFirst(settings.project, Nobody())
    return PeerFirst(settings.project, Password(PasswordFile(settings.password_file, settings.project)))


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
