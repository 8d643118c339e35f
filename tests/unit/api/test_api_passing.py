"""What a WSGI server makes of a request, and what becomes of it for Nova."""

from __future__ import annotations

import io
from typing import Any

import pytest
from falcon.testing import create_environ

from stillframe.api.passing import asked_of
from stillframe.errors.request import BadRequest


def environ(**more: Any) -> dict[str, Any]:
    """A request for /v2.1/x y, of a server that keeps no raw target."""
    made = create_environ("/v2.1/x%20y", query_string="a=%2F&b")
    del made["RAW_URI"]
    return {**made, **more}


@pytest.mark.parametrize(
    ("more", "target"),
    [
        ({}, "/v2.1/x%20y?a=%2F&b"),
        ({"RAW_URI": "/v2.1/x%20y?a=1"}, "/v2.1/x%20y?a=1"),
        ({"REQUEST_URI": "/compute/v2.1/x%7ey", "SCRIPT_NAME": "/compute"}, "/v2.1/x%7ey"),
    ],
    ids=["decoded", "gunicorn", "mounted"],
)
def test_the_target_is_as_it_was_sent(more: dict[str, Any], target: str) -> None:
    assert asked_of(environ(**more), "http://cloud").target == target


@pytest.mark.parametrize("raw", ["http://evil/v2.1/x", "*", "x", "/v2.1/x y", "/v2.1/\xe4", "/v2.1/x#y"])
def test_other_forms_of_targets_are_refused(raw: str) -> None:
    with pytest.raises(BadRequest):
        asked_of(environ(RAW_URI=raw), "http://cloud")


def test_a_body_that_is_shorter_than_said_is_never_sent_as_a_whole_one() -> None:
    asked = asked_of(environ(CONTENT_LENGTH="5", **{"wsgi.input": io.BytesIO(b"abc")}), "http://cloud")
    pieces = iter(asked.body)
    assert next(pieces) == b"abc"
    with pytest.raises(BadRequest):
        next(pieces)
