"""The API's name filter is a regular expression; here it becomes a LIKE, which no pattern can make slow.

Understood are literals, `^`, `$`, `.`, `.*` and a backslash before punctuation: what clients send. A full regular
expression would let anybody with a name and a pattern stop the service for hours.
"""

from __future__ import annotations

from stillframe.errors.request import BadRequest

ESCAPE = "/"

_REFUSED = frozenset("*+?[]{}|")  # parentheses alone only group: they stand for themselves, as in "web (1)"


def like(pattern: str) -> str:
    """The LIKE pattern, escaped by ESCAPE, that matches the same names; raises BadRequest for what has none."""
    start, rest = ("", pattern[1:]) if pattern.startswith("^") else ("%", pattern)
    parts: list[str] = []
    end = "%"
    at = 0
    while at < len(rest):
        part, length = _part(rest, at, pattern)
        if part is None:
            end = ""
        else:
            parts.append(part)
        at += length
    return start + "".join(parts) + end


def _part(rest: str, at: int, pattern: str) -> tuple[str | None, int]:
    """The LIKE of what begins here (None: the end of the name) and how many characters it stands for."""
    char, following = rest[at], rest[at + 1 : at + 2]
    if char == "\\" and following and not following.isalnum():
        return _literal(following), 2
    if char == "." and following == "*":
        return "%", 2
    if char == ".":
        return "_", 1
    if char == "$" and not following:
        return None, 1
    if char in _REFUSED or char in "\\^$":
        raise BadRequest(
            reason=f"Invalid input for query parameters name. Value: {pattern}. Of regular expressions only literals,"
            " ^, $, ., .* and a backslash before punctuation are understood"
        )
    return _literal(char), 1


def _literal(char: str) -> str:
    return ESCAPE + char if char in ("%", "_", ESCAPE) else char
