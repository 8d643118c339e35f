"""Flavors: list, detail, show. A caller sees those of the servers that they see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from stillframe.api.call import Answer, Call
from stillframe.api.deps import Deps
from stillframe.api.paging import page_of, paged
from stillframe.api.policy import Policy
from stillframe.api.views import flavors as views
from stillframe.api.views.flavors import Flavor
from stillframe.controller.servers import Servers
from stillframe.errors.request import BadRequest, NotFound
from stillframe.model import Instance


def instances(servers: Servers, project: str | None) -> Iterator[Instance]:
    """Every instance of a project (None: of all), read a thousand at a time."""
    marker: str | None = None
    while page := servers.list(project=project, limit=1000, marker=marker):
        yield from (server.instance for server in page)
        marker = page[-1].instance.id
        if len(page) < 1000:
            return


class Flavors:
    """GET /flavors, /flavors/detail, /flavors/{flavor_id}"""

    def __init__(self, deps: Deps, policy: Policy) -> None:
        self._servers = deps.servers
        self._policy = policy
        self._most = deps.settings.api.max_limit

    def index(self, call: Call) -> Answer:
        """Ids and names."""
        return self._list(call, "flavors", lambda flavor: views.brief(call, flavor))

    def detail(self, call: Call) -> Answer:
        """Everything."""
        return self._list(call, "flavors/detail", lambda flavor: self._full(call, flavor))

    def show(self, call: Call, flavor_id: str) -> Answer:
        """One flavor."""
        found = next((flavor for flavor in self._all(call) if flavor.id == flavor_id), None)
        if found is None:
            raise NotFound(what=f"Flavor {flavor_id[:100]}")
        return Answer({"flavor": self._full(call, found)})

    def _list(self, call: Call, collection: str, view: Callable[[Flavor], dict[str, Any]]) -> Answer:
        page = page_of(call, self._most)
        found = sorted(self._all(call), key=lambda flavor: flavor.id, reverse=call.one("sort_dir") == "desc")
        minimum = _number(call, "minRam")
        found = [flavor for flavor in found if flavor.memory_mib >= minimum]
        if page.marker is not None:
            ids = [flavor.id for flavor in found]
            if page.marker not in ids:
                raise BadRequest(reason=f"marker [{page.marker[:100]}] not found")
            found = found[ids.index(page.marker) + 1 :]
        items, next_page = paged(call, page, collection, found[: page.limit], view)
        return Answer({"flavors": items} | ({"flavors_links": next_page} if next_page else {}))

    def _all(self, call: Call) -> list[Flavor]:
        """By id; of two that differ under one name, that of the newest server."""
        found: dict[str, Flavor] = {}
        for instance in instances(self._servers, self._policy.scope(call.caller)):
            flavor = views.flavor_of(instance)
            found.setdefault(flavor.id, flavor)
        return list(found.values())

    def _full(self, call: Call, flavor: Flavor) -> dict[str, Any]:
        specs = self._policy.allows(call.caller, "os_compute_api:os-flavor-extra-specs:index")
        return views.full(call, flavor, extra_specs=specs)


def _number(call: Call, name: str) -> int:
    text = call.one(name) or "0"
    if not (text.isascii() and text.isdigit()):
        raise BadRequest(reason=f"Invalid {name} filter [{text[:100]}]")
    return int(text)
