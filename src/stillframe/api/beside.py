"""In front of the application where Nova is behind: what is Stillframe's goes to the application, the rest to Nova.

Nova judges what goes to it, by the token that came with it: nothing of it is looked at before, nor kept.
"""

from __future__ import annotations

import io
import json
import logging
import re
import time
import uuid
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from itertools import islice
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication

import falcon
from falcon.routing import CompiledRouter

from stillframe.api.auth import PEER_UID
from stillframe.api.call import BODY_LIMIT
from stillframe.api.faults import body_of
from stillframe.api.passing import asked_of, came_back
from stillframe.controller.servers import Servers
from stillframe.errors.base import StillframeError, fault_of
from stillframe.errors.nova import NovaFailed
from stillframe.model import Fault, TaskState
from stillframe.nova.relay import CHUNK, Asked, Headers, Relay

LOG = logging.getLogger(__name__)
LARGEST = 64 << 20  # bytes of a document that task states are put into: Nova's longest lists have some MiB
TASK_STATE = "OS-EXT-STS:task_state"
OWN_ACTIONS = ("createImage", "createBackup")
BLIND_SECONDS = 30.0  # in which records that could not be read are not tried again: that takes ten seconds
_PROJECT = re.compile(r"[0-9a-f-]+")  # as Nova's default: /os-keypairs/captures is a key pair, no project's captures

Environ = dict[str, Any]


class Way(Enum):
    """What becomes of a request."""

    OWN = "Stillframe's"
    TOGETHER = "Stillframe's, and Nova's in the same answer"
    ACTION = "Stillframe's when it is createImage or createBackup, else Nova's"
    TASK_STATES = "Nova's, with the task states of servers that are being captured"
    NOVA = "Nova's"


Ways = Mapping[str, Mapping[str, Way]]  # URL -> method -> way


@dataclass(frozen=True, slots=True)
class Place:
    """One URL of the table, as a router keeps it."""

    methods: Mapping[str, Way]


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer, as WSGI has it."""

    status: str
    headers: Headers
    body: Iterable[bytes]


class BesideNova:
    """The WSGI application in front."""

    def __init__(
        self, app: WSGIApplication, relay: Relay, servers: Servers, ways: Ways, public_url: str | None
    ) -> None:
        self._app = app
        self._relay = relay
        self._servers = servers
        self._public_url = public_url
        self._blind_until = 0.0
        self._places = CompiledRouter()
        for url, methods in ways.items():
            self._places.add_route(url, Place(methods))

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """See PEP 3333."""
        started = time.monotonic()
        way = self._way(environ)
        if way is Way.ACTION:
            way = _way_of_action(environ)
        if way in (Way.OWN, Way.TOGETHER) and not came_back(environ):
            return self._app(environ, start_response)
        outcome = self._outcome(environ, way)
        LOG.info(
            "passed on to Nova: %s %s %s %.1f ms",
            environ["REQUEST_METHOD"],
            environ.get("PATH_INFO", "").encode("unicode_escape").decode(),  # a line break in it forges no line
            outcome.status,
            1000 * (time.monotonic() - started),
        )
        start_response(outcome.status, list(outcome.headers))
        return outcome.body

    def _way(self, environ: Environ) -> Way:
        """Whoever comes by the Unix socket without a token is nobody whom Nova knows: he gets what we have."""
        if PEER_UID in environ and "HTTP_X_AUTH_TOKEN" not in environ:
            return Way.OWN
        found = self._places.find(environ.get("PATH_INFO", "").rstrip("/") or "/")
        if found is None:
            return Way.NOVA
        place, _, names, _ = found
        if not (isinstance(place, Place) and _PROJECT.fullmatch(names.get("url_project", "0"))):
            return Way.NOVA
        return place.methods.get(environ["REQUEST_METHOD"], Way.NOVA)

    def _outcome(self, environ: Environ, way: Way) -> Outcome:
        try:
            asked = asked_of(environ, self._public_url or _own_url(environ))
            try:
                return self._with_task_states(asked) if way is Way.TASK_STATES else self._passed(asked)
            finally:
                # what Nova did not want of the body must not be taken for the connection's next request
                deque(islice(asked.body, BODY_LIMIT // CHUNK + 1), maxlen=0)
        except StillframeError as error:
            return _refused(error.fault, error)
        except Exception as error:  # noqa: BLE001 - as in faults.py: an answer without a traceback
            return _refused(fault_of(error), error)

    def _passed(self, asked: Asked) -> Outcome:
        reply = self._relay.send(asked)
        return Outcome(f"{reply.status} {reply.reason}", reply.headers, reply)

    def _with_task_states(self, asked: Asked) -> Outcome:
        busy = self._busy()
        if not busy:
            return self._passed(asked)
        plain = tuple((name, value) for name, value in asked.headers if name.lower() != "accept-encoding")
        reply = self._relay.send(replace(asked, headers=plain))
        if reply.status != 200 or reply.header("content-encoding"):
            return Outcome(f"{reply.status} {reply.reason}", reply.headers, reply)
        try:
            document = reply.read(LARGEST)
        finally:
            reply.close()
        if document is None:
            raise NovaFailed(what="list servers", answer=f"more than {LARGEST >> 20} MiB")
        told = with_task_states(document, busy)
        length = ("Content-Length", str(len(told)))
        headers = (*((name, value) for name, value in reply.headers if name.lower() != "content-length"), length)
        return Outcome(f"{reply.status} {reply.reason}", headers, (told,))

    def _busy(self) -> Mapping[str, TaskState]:
        """Nothing while our records cannot be read: what Nova has to say does not depend on them."""
        if time.monotonic() < self._blind_until:
            return {}
        try:
            return self._servers.task_states()
        except StillframeError as error:
            LOG.warning("task states of captures are not shown: %s", error)
            self._blind_until = time.monotonic() + BLIND_SECONDS
            return {}


def with_task_states(document: bytes, busy: Mapping[str, TaskState]) -> bytes:
    """One of Nova's documents of servers; a task state of Nova's own stays."""
    try:
        told = json.loads(document)
        servers = [told["server"]] if "server" in told else told["servers"]
        for server in servers:
            if TASK_STATE in server and server[TASK_STATE] is None and server["id"] in busy:
                server[TASK_STATE] = busy[server["id"]]
    except (ValueError, LookupError, TypeError):  # no such document: whatever it is, it is Nova's
        return document
    return json.dumps(told).encode()


def _way_of_action(environ: Environ) -> Way:
    """By its body, which is kept for whoever gets it. A larger one than any of ours is Nova's."""
    stream, text = environ["wsgi.input"], environ.get("CONTENT_LENGTH") or ""
    left = min(int(text), BODY_LIMIT + 1) if text.isascii() and text.isdigit() else 0
    if "HTTP_TRANSFER_ENCODING" in environ:
        left = BODY_LIMIT + 1
    parts: list[bytes] = []
    while left > 0 and (data := stream.read(left)):
        parts.append(data)
        left -= len(data)
    body = b"".join(parts)
    if not _is_own(body):
        environ["wsgi.input"] = _Rejoined(body, stream)
        return Way.NOVA
    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    return Way.OWN


def _is_own(body: bytes) -> bool:
    try:
        asked = json.loads(body) if len(body) <= BODY_LIMIT else None
    except (ValueError, RecursionError):
        return False
    return isinstance(asked, dict) and any(name in asked for name in OWN_ACTIONS)


class _Rejoined:
    """A stream of which a part was read, whole again."""

    def __init__(self, first: bytes, rest: Any) -> None:
        self._first = io.BytesIO(first)
        self._rest = rest

    def read(self, size: int) -> bytes:
        """At most `size` bytes."""
        data: bytes = self._first.read(size) or self._rest.read(size)
        return data


def _own_url(environ: Environ) -> str:
    host = environ.get("HTTP_HOST") or f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
    return f"{environ['wsgi.url_scheme']}://{host}"


def _refused(fault: Fault, error: Exception) -> Outcome:
    """Who asks is not known, so that the operator's part is in the log alone."""
    request_id = f"req-{uuid.uuid4()}"
    if fault.status >= 500:
        LOG.error("%s %s: %s", request_id, fault.code, error, exc_info=error)
    body = json.dumps(body_of(fault, request_id)).encode()
    headers = (
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("x-openstack-request-id", request_id),
        ("x-compute-request-id", request_id),
    )
    return Outcome(falcon.code_to_http_status(fault.status), headers, (body,))
