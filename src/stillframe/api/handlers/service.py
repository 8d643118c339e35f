"""How the service is: /healthcheck for anybody, /metrics for administrators and the role `monitoring`."""

from __future__ import annotations

from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from stillframe.api.call import Answer, Call
from stillframe.api.deps import Check, Deps
from stillframe.api.policy import Policy


class Service:
    """GET /healthcheck, /metrics"""

    def __init__(self, deps: Deps, policy: Policy) -> None:
        self._health = deps.health
        self._registry = deps.registry
        self._policy = policy

    def healthcheck(self, _: Call) -> Answer:
        """200 when a capture would find all it needs, else 503 with the causes. Their operator's part is in the log."""
        checks = self._health()
        well = all(check.fault is None for check in checks)
        body = {"status": "ok" if well else "unhealthy", "checks": [_checked(check) for check in checks]}
        return Answer(body, status=200 if well else 503)

    def metrics(self, call: Call) -> Answer:
        """Prometheus' text format."""
        self._policy.require(call.caller, "stillframe:metrics:show")
        text = generate_latest(self._registry).decode()
        return Answer(text=text, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _checked(check: Check) -> dict[str, Any]:
    if check.fault is None:
        return {"name": check.name, "status": "ok"}
    fault = check.fault
    return {"name": check.name, "status": "failed", "code": fault.code, "message": fault.message, "hint": fault.hint}
