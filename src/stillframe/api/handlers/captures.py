"""Captures: list, show, cancel."""

from __future__ import annotations

from stillframe.api.call import Answer, Call
from stillframe.api.deps import Deps
from stillframe.api.paging import page_of, paged
from stillframe.api.policy import Policy
from stillframe.api.schemas import Query
from stillframe.api.views import captures as views
from stillframe.controller.captures import CaptureFilters
from stillframe.errors.request import BadRequest
from stillframe.model import CaptureStatus

RULE = "stillframe:captures:"
KNOWN = Query("server_id", "status", "request_id", "limit", "marker")


class CaptureHandlers:
    """GET /captures, /captures/{capture_id}; DELETE /captures/{capture_id}"""

    def __init__(self, deps: Deps, policy: Policy) -> None:
        self._captures = deps.captures
        self._policy = policy
        self._most = deps.settings.api.max_limit

    def index(self, call: Call) -> Answer:
        """Newest first: the project's, or everybody's for administrators."""
        self._policy.require(call.caller, f"{RULE}index")
        KNOWN.check(call.query)
        scope = None if self._policy.allows(call.caller, f"{RULE}index:get_all_tenants") else call.caller.project_id
        page = page_of(call, self._most)
        filters = CaptureFilters(
            server_id=call.one("server_id"), statuses=_statuses(call), request_id=call.one("request_id")
        )
        found = [] if page.limit == 0 else self._captures.list(filters, scope, page.limit, page.marker)
        items, links = paged(call, page, "captures", found, lambda capture: views.brief(call, capture))
        return Answer({"captures": items} | ({"captures_links": links} if links else {}))

    def show(self, call: Call, capture_id: str) -> Answer:
        """One capture with its timeline."""
        self._policy.require(call.caller, f"{RULE}show")
        capture = self._captures.get(capture_id, self._policy.scope(call.caller))
        operator = self._policy.allows(call.caller, "stillframe:faults:operator")
        return Answer({"capture": views.full(call, capture, operator=operator)})

    def cancel(self, call: Call, capture_id: str) -> Answer:
        """Accepted: the capture ends as soon as the agent has given everything back."""
        self._policy.require(call.caller, f"{RULE}cancel")
        self._captures.cancel(capture_id, self._policy.scope(call.caller))
        return Answer(status=202)


def _statuses(call: Call) -> tuple[CaptureStatus, ...] | None:
    """`status` may be given several times, or as a list with commas."""
    texts = [text.strip().lower() for value in call.query.get("status", []) for text in value.split(",")]
    if not texts:
        return None
    known = {status.value: status for status in CaptureStatus}
    wrong = next((text for text in texts if text not in known), None)
    if wrong is not None:
        raise BadRequest(reason=f"Invalid status value {wrong[:100]!r}; the statuses are: {', '.join(known)}.")
    return tuple(dict.fromkeys(known[text] for text in texts))
