"""What the views share: times, links, host ids."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

from stillframe.api.call import LEGACY, Call


def seconds(time: datetime) -> str:
    """As Nova and Glance write times: UTC, whole seconds, Z."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def naive(time: datetime) -> str:
    """As Nova writes the times of instance actions: UTC with microseconds and no zone."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def exact(time: datetime | None) -> str | None:
    """As Stillframe writes times of its own: UTC with microseconds, Z."""
    return None if time is None else f"{naive(time)}Z"


def root(call: Call) -> str:
    """The URL of the compute API as the request named it, with the project where it named one."""
    version = "v2" if call.version == LEGACY else "v2.1"
    return f"{call.base}/{version}{_project(call)}"


def links(call: Call, collection: str, identifier: str) -> list[dict[str, str]]:
    """The two links of a resource."""
    return [
        {"rel": "self", "href": f"{root(call)}/{collection}/{quote(identifier, safe='')}"},
        {"rel": "bookmark", "href": bookmark(call, collection, identifier)},
    ]


def bookmark(call: Call, collection: str, identifier: str) -> str:
    """The link without a version."""
    return f"{call.base}{_project(call)}/{collection}/{quote(identifier, safe='')}"


def next_link(call: Call, collection: str, last: str) -> list[dict[str, str]]:
    """The link to the page after this item, with the request's own parameters."""
    return [{"rel": "next", "href": f"{root(call)}/{collection}?{with_marker(call.query, last)}"}]


def with_marker(query: Mapping[str, Sequence[str]], last: str) -> str:
    """The query string of the next page."""
    kept = sorted((name, value) for name, values in query.items() if name != "marker" for value in values)
    return urlencode([*kept, ("marker", last)])


def host_id(host: str, project: str | None) -> str:
    """Nova's hostId: tells hosts apart without naming them."""
    return hashlib.sha224(f"{project or ''}{host}".encode()).hexdigest()


def whole(text: str | None) -> int:
    """The number that a property holds; 0 for anything else."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else 0


def _project(call: Call) -> str:
    return f"/{quote(call.project, safe='')}" if call.project else ""
