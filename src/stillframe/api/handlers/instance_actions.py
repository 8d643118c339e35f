"""os-instance-actions: list, show."""

from __future__ import annotations

from datetime import UTC, datetime

from stillframe.api.call import Answer, Call
from stillframe.api.deps import Deps
from stillframe.api.paging import Page, page_of, paged
from stillframe.api.policy import Policy
from stillframe.api.schemas import Query
from stillframe.api.views import actions as views
from stillframe.controller.captures import CaptureFilters
from stillframe.errors.request import BadRequest, InstanceNotFound, NotFound
from stillframe.model import Capture

RULE = "os_compute_api:os-instance-actions:"
PAGED_SINCE = (2, 58)
BEFORE_SINCE = (2, 66)
DELETED_TOO_SINCE = (2, 21)
PAGED_QUERY = Query("limit", "marker", "changes-since")
BEFORE_QUERY = Query("limit", "marker", "changes-since", "changes-before")


class InstanceActions:
    """GET /servers/{server_id}/os-instance-actions and .../{request_id}"""

    def __init__(self, deps: Deps, policy: Policy) -> None:
        self._servers = deps.servers
        self._captures = deps.captures
        self._policy = policy
        self._most = deps.settings.api.max_limit

    def index(self, call: Call, server_id: str) -> Answer:
        """Newest first; paged and by time since 2.58."""
        self._policy.require(call.caller, f"{RULE}list")
        filters = filters_of(call, server_id)
        page = self._page(call, server_id)
        scope = self._policy.scope(call.caller)
        self._check_server(call, server_id, scope)
        found = [] if page.limit == 0 else self._captures.list(filters, scope, page.limit, page.marker)
        collection = f"servers/{server_id}/os-instance-actions"
        items, links = paged(call, page, collection, found, lambda item: views.brief(call, item), key="request_id")
        body = {"instanceActions": items}
        return Answer(body | {"links": links} if links and call.version >= PAGED_SINCE else body)

    def show(self, call: Call, server_id: str, request_id: str) -> Answer:
        """The action of one request, with its events."""
        self._policy.require(call.caller, f"{RULE}show")
        scope = self._policy.scope(call.caller)
        self._check_server(call, server_id, scope)
        capture = self._of_request(server_id, request_id, scope)
        if capture is None:
            raise NotFound(what=f"Action {request_id[:100]}")
        return Answer({"instanceAction": views.full(call, capture, self._sight(call))})

    def _page(self, call: Call, server_id: str) -> Page:
        """Its marker is a capture's id."""
        if call.version < PAGED_SINCE:
            return Page(self._most, None)
        page = page_of(call, self._most)
        if page.marker is None:
            return page
        marked = self._of_request(server_id, page.marker, self._policy.scope(call.caller))
        if marked is None:
            raise BadRequest(reason=f"Marker {page.marker[:100]} could not be found.")
        return Page(page.limit, marked.id)

    def _of_request(self, server_id: str, request_id: str, scope: str | None) -> Capture | None:
        found = self._captures.list(CaptureFilters(server_id=server_id, request_id=request_id), scope, 1)
        return found[0] if found else None

    def _check_server(self, call: Call, server_id: str, scope: str | None) -> None:
        """Since 2.21 the actions of a deleted server can be read, as long as its captures are kept."""
        try:
            self._servers.get(server_id, scope)
        except InstanceNotFound:
            gone = call.version >= DELETED_TOO_SINCE
            if not gone or not self._captures.list(CaptureFilters(server_id=server_id), scope, 1):
                raise

    def _sight(self, call: Call) -> views.Sight:
        caller = call.caller
        return views.Sight(
            events=self._policy.allows(caller, f"{RULE}events"),
            details=self._policy.allows(caller, f"{RULE}events:details"),
            operator=self._policy.allows(caller, "stillframe:faults:operator"),
        )


def filters_of(call: Call, server_id: str) -> CaptureFilters:
    """What a list is narrowed to; raises BadRequest."""
    if call.version < PAGED_SINCE:
        return CaptureFilters(server_id=server_id)
    (BEFORE_QUERY if call.version >= BEFORE_SINCE else PAGED_QUERY).check(call.query)
    since, before = _time(call, "changes-since"), _time(call, "changes-before")
    if since and before and before < since:
        raise BadRequest(reason="The value of changes-since must be less than or equal to changes-before.")
    return CaptureFilters(server_id=server_id, changed_since=since, changed_before=before)


def _time(call: Call, name: str) -> datetime | None:
    text = call.one(name)
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadRequest(reason=f"Invalid input for query parameters {name}. Value: {text[:100]}.") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)
