"""Users of Keystone, as keystonemiddleware tells the application of them: see tokenguard.py."""

from __future__ import annotations

import falcon

from stillframe.api.call import Caller
from stillframe.errors.glance import ProjectNeeded, TokenNeeded

HEADER = "X-Auth-Token"
PLUGIN = "keystone.token_auth"  # where the middleware leaves the token, as a plugin of keystoneauth


def caller(request: falcon.Request) -> Caller:
    """Raises TokenNeeded, or ProjectNeeded: what has no owner must not be taken for a caller's own."""
    if request.get_header("X-Identity-Status") != "Confirmed":
        raise TokenNeeded
    project = request.get_header("X-Project-Id")
    if not project:
        raise ProjectNeeded
    # with those that a role implies, where Keystone says so
    roles = frozenset(role.strip().lower() for role in (request.get_header("X-Roles") or "").split(","))
    return Caller(request.get_header("X-User-Id") or "", project, roles, request.env.get(PLUGIN))
