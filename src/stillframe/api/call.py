"""What a handler is given, and what it gives back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import falcon

from stillframe.errors.request import BadRequest, RequestTooLarge

BODY_LIMIT = 114688  # as oslo.middleware's default, which Nova has


class Version(NamedTuple):
    """A microversion; (2, 0) is the API without microversions, under /v2."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


LEGACY = Version(2, 0)
LOWEST = Version(2, 1)
HIGHEST = Version(2, 100)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the roles include those that a role implies."""

    user_id: str
    project_id: str
    roles: frozenset[str]
    auth: object = field(default=None, repr=False, compare=False)  # the plugin of a Keystone user's token


@dataclass(frozen=True, slots=True)
class Call:
    """One request, signed in and understood."""

    request: falcon.Request
    caller: Caller
    version: Version
    request_id: str
    base: str  # the URL of the service, without a slash at its end
    project: str | None = None  # the project that the URL names, as old clients do
    query: Mapping[str, list[str]] = field(default_factory=dict)

    def one(self, name: str) -> str | None:
        """The last value of a query parameter, or None."""
        values = self.query.get(name)
        return values[-1] if values else None

    def body(self) -> Any:
        """The JSON of the body; raises BadRequest, RequestTooLarge."""
        media = (self.request.content_type or "").partition(";")[0].strip().lower()
        if media not in ("", "text/plain", "application/json"):
            raise falcon.HTTPUnsupportedMediaType(description="Unsupported Content-Type")
        if (self.request.content_length or 0) > BODY_LIMIT:
            raise RequestTooLarge(limit=BODY_LIMIT)
        data = self.request.bounded_stream.read(BODY_LIMIT + 1)
        if len(data) > BODY_LIMIT:
            raise RequestTooLarge(limit=BODY_LIMIT)
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise BadRequest(reason="Malformed request body") from error


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler answers: JSON, text, or a stream of bytes."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str | None = None
    stream: Iterable[bytes] | None = None


Handler = Callable[..., Answer]  # (Call, **names of the URL's template)


def query_of(request: falcon.Request) -> dict[str, list[str]]:
    """Every query parameter with all its values, in order; raises BadRequest."""
    try:
        return parse_qs(request.query_string, keep_blank_values=True, max_num_fields=200, errors="strict")
    except ValueError as error:
        raise BadRequest(reason="The query string cannot be understood") from error
