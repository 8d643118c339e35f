"""The query of a list of images: filters, order, page, as Glance reads them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from stillframe.api.call import Call
from stillframe.errors.request import BadRequest

View = dict[str, Any]
Test = Callable[[View], bool]

NOT_FILTERS = frozenset(("limit", "marker", "sort", "sort_key", "sort_dir", "member_status", "tag"))
SORT_KEYS = (
    *("name", "status", "container_format", "disk_format", "size", "id"),
    *("created_at", "updated_at", "min_disk", "min_ram", "owner", "virtual_size", "os_hidden", "visibility"),
)
LISTS = frozenset(("id", "name", "status", "container_format", "disk_format"))  # know `in:`
BOUNDS = {"size_min": ("size", 1), "size_max": ("size", -1)}
TIMES = frozenset(("created_at", "updated_at"))
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda left, right: left > right,
    "gte": lambda left, right: left >= right,
    "lt": lambda left, right: left < right,
    "lte": lambda left, right: left <= right,
    "eq": lambda left, right: left == right,
    "neq": lambda left, right: left != right,
}


@dataclass(frozen=True, slots=True)
class ImageQuery:
    """What a list of images is to hold, and in which order."""

    tests: tuple[Test, ...]
    order: tuple[tuple[str, bool], ...]  # key, descending; the first weighs most

    def apply(self, images: Iterable[View]) -> Iterator[View]:
        """Those that pass every test, sorted; newest first, as they come, where no order was asked for."""
        passed = [image for image in images if all(test(image) for test in self.tests)]
        for key, descending in reversed(self.order):
            passed.sort(key=lambda image: _sortable(image.get(key)), reverse=descending)
        return iter(passed)


def image_query(call: Call) -> ImageQuery:
    """Reads the query; raises BadRequest."""
    tests = [_test(name, value) for name, values in call.query.items() for value in values if name not in NOT_FILTERS]
    if call.query.get("tag"):
        tests.append(lambda _: False)  # no image here has one
    return ImageQuery(tuple(tests), _order(call))


def _test(name: str, value: str) -> Test:
    if name in BOUNDS:
        return _bound(name, value)
    if name in TIMES:
        return _time(name, value)
    if name == "visibility":
        return _visibility(value)
    if name in ("os_hidden", "protected"):
        return _boolean(name, value)
    if name == "changes-since":
        raise BadRequest(reason='The "changes-since" filter is no longer available on v2.')
    if name in LISTS and value.startswith("in:"):
        wanted = frozenset(_items(value[3:]))
        return lambda image: image.get(name) in wanted
    return lambda image: name in image and str(image[name]) == value


def _bound(name: str, value: str) -> Test:
    key, sign = BOUNDS[name]
    if not (value.isascii() and value.isdigit()):
        raise BadRequest(reason=f"Invalid value {value[:100]!r} for parameter {name!r}: a number is needed.")
    limit = int(value)
    return lambda image: image[key] is not None and sign * image[key] >= sign * limit


def _time(name: str, value: str) -> Test:
    operator, colon, text = value.partition(":")
    if not colon or operator not in COMPARISONS:
        operator, text = "eq", value
    try:
        wanted = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadRequest(reason=f"Invalid time {value[:100]!r} for parameter {name!r}.") from error
    wanted = wanted if wanted.tzinfo else wanted.replace(tzinfo=UTC)
    compare = COMPARISONS[operator]
    return lambda image: compare(datetime.fromisoformat(image[name]), wanted)


def _visibility(value: str) -> Test:
    if value not in ("community", "public", "private", "shared", "all"):
        raise BadRequest(reason=f"Invalid visibility value: {value[:100]}")
    return lambda image: value == "all" or image["visibility"] == value


def _boolean(name: str, value: str) -> Test:
    if value.lower() not in ("true", "false"):
        raise BadRequest(
            reason=f"Invalid value '{value[:100]}' for '{name}' filter. Valid values are 'true' or 'false'."
        )
    wanted = value.lower() == "true"
    return lambda image: image[name] is wanted


def _items(text: str) -> list[str]:
    """Values with commas between them; a quoted value may hold commas."""
    return next(csv.reader([text]), [])


def _order(call: Call) -> tuple[tuple[str, bool], ...]:
    """`sort=name:asc,size` or sort_key and sort_dir."""
    keys, directions = call.query.get("sort_key", []), call.query.get("sort_dir", [])
    combined = call.one("sort")
    if combined is not None:
        if keys or directions:
            raise BadRequest(reason="Old and new sorting syntax cannot be combined")
        pairs = [part.strip().partition(":") for part in combined.split(",")]
        return tuple(_pair(key, direction or "desc") for key, _, direction in pairs)
    if len(directions) > 1 and len(directions) != len(keys):
        raise BadRequest(reason="Number of sort dirs does not match the number of sort keys")
    if directions and not keys:
        keys = ["created_at"]
    if len(directions) != len(keys):
        directions = (directions or ["desc"]) * len(keys)
    return tuple(_pair(key, direction) for key, direction in zip(keys, directions, strict=True))


def _pair(key: str, direction: str) -> tuple[str, bool]:
    if key.strip() not in SORT_KEYS:
        raise BadRequest(
            reason=f"Invalid sort key: {key[:100]}. It must be one of the following: {', '.join(SORT_KEYS)}."
        )
    if direction.strip() not in ("asc", "desc"):
        raise BadRequest(reason=f"Invalid sort direction: {direction[:100]}")
    return key.strip(), direction.strip() == "desc"


def _sortable(value: Any) -> tuple[bool, Any]:
    """What is missing comes first in ascending order."""
    return (value is not None, 0 if value is None else value)
