"""Named points at the boundaries of everything that could leave something behind.

They do nothing, and no option or environment variable makes them do anything. The lab starts a process of its own in
which it puts another function in place of `reached`, and so kills, stops, fails or hangs it at a point.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


def reached(point: str) -> None:
    """This thread has come to the point."""


@contextmanager
def around(what: str) -> Iterator[None]:
    """The points WHAT.before and WHAT.after around a block, or a function; a failure never comes to the last."""
    reached(f"{what}.before")
    yield
    reached(f"{what}.after")
