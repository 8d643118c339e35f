"""Servers: list, detail, show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from stillframe.api.call import Answer, Call
from stillframe.api.deps import Deps
from stillframe.api.handlers.flavors import instances
from stillframe.api.paging import Page, page_of, paged
from stillframe.api.policy import Policy
from stillframe.api.server_query import ServerQuery, server_query
from stillframe.api.views import servers as views
from stillframe.api.views.flavors import flavor_of
from stillframe.controller.servers import ServerFilters
from stillframe.model import Server, now

RULE = "os_compute_api:servers:"


class Servers:
    """GET /servers, /servers/detail, /servers/{server_id}"""

    def __init__(self, deps: Deps, policy: Policy) -> None:
        self._servers = deps.servers
        self._hosts = deps.hosts
        self._policy = policy
        self._most = deps.settings.api.max_limit
        self._host_timeout = timedelta(seconds=deps.settings.controller.host_timeout)

    def index(self, call: Call) -> Answer:
        """Ids and names."""
        return self._list(call, "index", "servers", lambda server: views.brief(call, server))

    def detail(self, call: Call) -> Answer:
        """Everything but server groups."""
        self._policy.require(call.caller, f"{RULE}detail")
        sight = self._sight(call)
        return self._list(call, "detail", "servers/detail", lambda server: views.full(call, server, sight))

    def show(self, call: Call, server_id: str) -> Answer:
        """One server; another project's is not there."""
        self._policy.require(call.caller, f"{RULE}show")
        server = self._servers.get(server_id, self._policy.scope(call.caller))
        return Answer({"server": views.shown(call, server, self._sight(call))})

    def _list(self, call: Call, rule: str, collection: str, view: Callable[[Server], dict[str, Any]]) -> Answer:
        self._policy.require(call.caller, RULE + rule)
        wanted = server_query(call, administrator=self._policy.allows(call.caller, f"{RULE}allow_all_filters"))
        if wanted.all_projects:
            self._policy.require(call.caller, f"{RULE}{rule}:get_all_tenants")
        page = page_of(call, self._most)
        found = [] if wanted.nothing or page.limit == 0 else self._found(call, wanted, page)
        items, next_page = paged(call, page, collection, found, view)
        return Answer({"servers": items} | ({"servers_links": next_page} if next_page else {}))

    def _found(self, call: Call, wanted: ServerQuery, page: Page) -> list[Server]:
        project = wanted.project if wanted.all_projects else self._policy.scope(call.caller)
        filters = wanted.filters if wanted.filters.flavor is None else self._of_flavor(wanted.filters, project)
        return self._servers.list(filters, project, wanted.sort, page.limit, page.marker)

    def _of_flavor(self, filters: ServerFilters, project: str | None) -> ServerFilters:
        """A flavor's id is derived from the instance, and no column: the ids of those that have it take its place."""
        ids = tuple(
            instance.id
            for instance in instances(self._servers, project)
            if flavor_of(instance).id == filters.flavor and (filters.ids is None or instance.id in filters.ids)
        )
        return replace(filters, flavor=None, ids=ids)

    def _sight(self, call: Call) -> views.Sight:
        sees_hosts = call.version >= (2, 16) and self._policy.allows(call.caller, f"{RULE}show:host_status")
        return views.Sight(
            extended=self._policy.allows(call.caller, "os_compute_api:os-extended-server-attributes"),
            extra_specs=self._policy.allows(call.caller, f"{RULE}show:flavor-extra-specs"),
            host_status=self._host_statuses() if sees_hosts else None,
        )

    def _host_statuses(self) -> Callable[[str], str]:
        """Nova's words: UP, or UNKNOWN for a host that has not been heard of lately."""
        oldest = now() - self._host_timeout
        up = {host.name for host in self._hosts.list() if host.last_seen >= oldest}
        return lambda name: "UP" if name in up else "UNKNOWN"
