"""A request as it came, for Nova: nothing that could mean one thing to us and another to Nova goes through."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from stillframe.errors.nova import NovaIsHere
from stillframe.errors.request import BadRequest
from stillframe.nova.relay import CHUNK, VIA, Asked, Headers, end_to_end

RAW_TARGETS = ("RAW_URI", "REQUEST_URI")  # where gunicorn, and cheroot and uWSGI, leave the target as it was sent

# Told anew, or meant for the first server only: what a client says of itself must not be taken for a balancer's word.
# Proxy would become the environment variable HTTP_PROXY of a CGI.
_OURS = frozenset(("host", "forwarded", "content-length", "expect", "proxy", "x-real-ip"))
_FORWARDED = "x-forwarded-"
_PRINTABLE = re.compile(r"/[!-\"$-~]*")  # no blank, no control character, no #
_TWO_MEANINGS = re.compile(rb"//|/\.\.?(/|$)|[\\\x00-\x1f\x7f]")
_ESCAPED_SLASH = re.compile(r"%2f", re.IGNORECASE)


def asked_of(environ: dict[str, Any], base: str) -> Asked:
    """What a WSGI request asks of Nova; `base` is the URL that clients know us by, for the links in Nova's answers.

    Raises BadRequest for what has two meanings, NovaIsHere for what was sent to Nova before.
    """
    if came_back(environ):
        raise NovaIsHere
    scheme, _, rest = base.partition("://")
    length = _length(environ)
    return Asked(
        method=environ["REQUEST_METHOD"],
        target=_target(environ),
        headers=(*_headers(environ), ("Host", rest.partition("/")[0]), ("X-Forwarded-Proto", scheme)),
        body=_body(environ["wsgi.input"], length),
        length=length,
    )


def came_back(environ: dict[str, Any]) -> bool:
    """Whether it was sent to Nova, and has come to us."""
    return any(entry.split()[1:2] == [VIA] for entry in environ.get("HTTP_VIA", "").split(","))


def _target(environ: dict[str, Any]) -> str:
    raw = next((str(environ[name]) for name in RAW_TARGETS if environ.get(name)), None)
    if raw is None:
        path = quote(environ.get("PATH_INFO", "").encode("latin-1"))
        raw = f"{path}?{environ['QUERY_STRING']}" if environ.get("QUERY_STRING") else path
    else:
        raw = raw.removeprefix(environ.get("SCRIPT_NAME", ""))  # below which a server may have mounted us
    path, _, _ = raw.partition("?")
    if not _PRINTABLE.fullmatch(raw) or _ESCAPED_SLASH.search(path) or _TWO_MEANINGS.search(unquote_to_bytes(path)):
        raise BadRequest(reason="Malformed request URL")
    return raw


def _length(environ: dict[str, Any]) -> int | None:
    """Of the body; None for one in chunks. Raises BadRequest when it is told twice, or in a way of its own."""
    coding = environ.get("HTTP_TRANSFER_ENCODING")
    text = environ.get("CONTENT_LENGTH") or ""
    if coding is not None:
        if coding.strip().lower() != "chunked" or text:
            raise BadRequest(reason="The length of the request's body has two meanings")
        return None
    if text and not (text.isascii() and text.isdigit()):
        raise BadRequest(reason="Malformed Content-Length")
    return int(text or 0)


def _headers(environ: dict[str, Any]) -> Headers:
    found = [
        (name[5:].replace("_", "-").title(), str(value)) for name, value in environ.items() if name.startswith("HTTP_")
    ]
    if environ.get("CONTENT_TYPE"):
        found.append(("Content-Type", environ["CONTENT_TYPE"]))
    return tuple(
        (name, value)
        for name, value in end_to_end(found)
        if name.lower() not in _OURS and not name.lower().startswith(_FORWARDED)
    )


def _body(stream: Any, length: int | None) -> Iterator[bytes]:
    """In pieces. Raises BadRequest when it ends before it should."""
    left = length
    while left is None or left > 0:
        data = stream.read(CHUNK if left is None else min(CHUNK, left))
        if not data:
            if left:
                raise BadRequest(reason="The request's body is shorter than it was said to be")
            return
        left = None if left is None else left - len(data)
        yield data
