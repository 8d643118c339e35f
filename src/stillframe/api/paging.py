"""`limit` and `marker`, as Nova reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from stillframe.api.call import Call
from stillframe.api.views.common import next_link
from stillframe.errors.request import BadRequest

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    """At most `limit` items after the one whose id is `marker`."""

    limit: int
    marker: str | None


def page_of(call: Call, most: int) -> Page:
    """The page that a request asks for; raises BadRequest."""
    text = call.one("limit")
    return Page(most if text is None else min(most, _number(text)), call.one("marker"))


def paged(
    call: Call, page: Page, collection: str, items: Sequence[T], view: Callable[[T], dict[str, Any]], *, key: str = "id"
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """The views of a page's items, and the link to the next page when this one is full."""
    views = [view(item) for item in items]
    full = bool(views) and len(views) == page.limit
    return views, next_link(call, collection, views[-1][key]) if full else []


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        given = text[:100]
        raise BadRequest(
            reason=f"Invalid input for query parameters limit. Value: {given}. '{given}' does not match '^[0-9]*$'"
        )
    return int(text)
