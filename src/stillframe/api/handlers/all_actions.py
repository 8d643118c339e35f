"""os-instance-actions where Nova is behind: Nova's of the server and our captures of it, in one list."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

from stillframe.api.call import LEGACY, Answer, Call
from stillframe.api.deps import Deps
from stillframe.api.handlers.instance_actions import PAGED_SINCE, RULE, InstanceActions, filters_of
from stillframe.api.microversion import HEADER, OLDER_HEADER
from stillframe.api.paging import Page, page_of, paged
from stillframe.api.policy import Policy
from stillframe.api.views import actions as views
from stillframe.controller.captures import CaptureFilters
from stillframe.errors.base import StillframeError
from stillframe.errors.nova import NovaFailed
from stillframe.errors.request import BadRequest, InstanceNotFound
from stillframe.nova.relay import Asked, Headers, Relay, Reply

LARGEST = 16 << 20  # bytes of one answer
MOST_PAGES = 20  # of Nova's list, of a thousand actions each: one server never has so many
SIGNED = ("X-Auth-Token", "X-Service-Token", "X-OpenStack-Request-ID")  # what goes along of the user's headers
_IDENTIFIER = re.compile(r"[0-9A-Za-z-]{1,255}")

Action = dict[str, Any]


class AllActions:
    """GET /servers/{server_id}/os-instance-actions and .../{request_id}: Nova says whether the caller may see them.

    Whoever comes without a token, by the Unix socket, sees ours.
    """

    def __init__(self, deps: Deps, policy: Policy, own: InstanceActions, relay: Relay) -> None:
        self._captures = deps.captures
        self._policy = policy
        self._most = deps.settings.api.max_limit
        self._own = own
        self._relay = relay

    def index(self, call: Call, server_id: str) -> Answer:
        """Nova's and ours, newest first."""
        if not _signed(call):
            return self._own.index(call, server_id)
        self._policy.require(call.caller, f"{RULE}list")
        _expect_identifier(server_id)
        filters = filters_of(call, server_id)
        page = Page(self._most, None) if call.version < PAGED_SINCE else page_of(call, self._most)
        novas = self._novas(call, server_id)
        if isinstance(novas, Answer):
            return novas
        collection = f"servers/{server_id}/os-instance-actions"
        found = _page([*novas, *self._ours(call, filters)], page)
        items, links = paged(call, page, collection, found, lambda action: action, key="request_id")
        body = {"instanceActions": items}
        return Answer(body | {"links": links} if links and call.version >= PAGED_SINCE else body)

    def show(self, call: Call, server_id: str, request_id: str) -> Answer:
        """Ours where a capture has this request's id, else Nova's."""
        filters = CaptureFilters(server_id=server_id, request_id=request_id)
        if not _signed(call) or self._captures.list(filters, self._policy.scope(call.caller), 1):
            return self._own.show(call, server_id, request_id)
        _expect_identifier(server_id)
        if not _IDENTIFIER.fullmatch(request_id):
            raise BadRequest(reason=f"{request_id[:100]} is no request's id")
        reply = self._ask(call, f"{_path(call, server_id)}/{request_id}")
        try:
            return _relayed(reply)
        finally:
            reply.close()

    def _ours(self, call: Call, filters: CaptureFilters) -> list[Action]:
        found = self._captures.list(filters, self._policy.scope(call.caller), self._most)
        return [views.brief(call, capture) for capture in found]

    def _novas(self, call: Call, server_id: str) -> list[Action] | Answer:
        """All of them, since where a page ends is told by the whole list, ours among it; or Nova's refusal."""
        kept = {name: values[-1] for name, values in call.query.items() if name.startswith("changes-")}
        found: list[Action] = []
        for _ in range(MOST_PAGES):
            reply = self._ask(call, f"{_path(call, server_id)}?{urlencode(kept)}".rstrip("?"))
            try:
                if reply.status != HTTPStatus.OK:
                    return _relayed(reply)
                told = json.loads(_whole(reply))
                found += told["instanceActions"]
                if not told.get("links"):
                    break
                kept["marker"] = found[-1]["request_id"]
            except (ValueError, LookupError, TypeError) as error:
                raise _senseless() from error
            finally:
                reply.close()
        return found

    def _ask(self, call: Call, target: str) -> Reply:
        return self._relay.send(Asked("GET", target, _headers(call)))


def _page(actions: list[Action], page: Page) -> list[Action]:
    """Newest first; raises BadRequest for a marker that is not among them."""
    try:
        actions.sort(key=lambda action: str(action["start_time"]), reverse=True)
        ids = [action["request_id"] for action in actions]
    except (LookupError, TypeError) as error:
        raise _senseless() from error
    if page.marker is None:
        return actions[: page.limit]
    if page.marker not in ids:
        raise BadRequest(reason=f"Marker {page.marker[:100]} could not be found.")
    first = ids.index(page.marker) + 1
    return actions[first : first + page.limit]


def _signed(call: Call) -> bool:
    return call.request.get_header(SIGNED[0]) is not None


def _headers(call: Call) -> Headers:
    signed = tuple((name, value) for name in SIGNED if (value := call.request.get_header(name)) is not None)
    version = () if call.version == LEGACY else ((HEADER, f"compute {call.version}"), (OLDER_HEADER, str(call.version)))
    return (*signed, *version, ("Accept", "application/json"))


def _path(call: Call, server_id: str) -> str:
    version = "v2" if call.version == LEGACY else "v2.1"
    project = f"/{quote(call.project, safe='')}" if call.project else ""
    return f"/{version}{project}/servers/{server_id}/os-instance-actions"


def _relayed(reply: Reply) -> Answer:
    kind = reply.header("content-type") or "application/json"
    return Answer(text=_whole(reply).decode(errors="replace"), status=reply.status, headers={"Content-Type": kind})


def _whole(reply: Reply) -> bytes:
    body = reply.read(LARGEST)
    if body is None:
        raise NovaFailed(what="list instance actions", answer=f"more than {LARGEST >> 20} MiB")
    return body


def _senseless() -> StillframeError:
    return NovaFailed(what="list instance actions", answer="something else")


def _expect_identifier(server_id: str) -> None:
    if not _IDENTIFIER.fullmatch(server_id):
        raise InstanceNotFound(instance=server_id[:100])
