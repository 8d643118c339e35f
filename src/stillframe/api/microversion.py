"""Microversions: which one a request asks for, and the headers that say what was honoured."""

from __future__ import annotations

import re

import falcon

from stillframe.api.call import HIGHEST, LOWEST, Version
from stillframe.errors.request import BadRequest, VersionNotSupported

HEADER = "OpenStack-API-Version"
OLDER_HEADER = "X-OpenStack-Nova-API-Version"
_NUMBERS = re.compile(r"([1-9]\d{0,8})\.(0|[1-9]\d{0,8})")


def asked(request: falcon.Request) -> Version | None:
    """The version that the headers name, supported or not; None when they name none. Raises BadRequest."""
    text = _for_compute(request.get_header(HEADER)) or request.get_header(OLDER_HEADER)
    if text is None:
        return None
    text = text.strip()
    if text.lower() == "latest":
        return HIGHEST
    match = _NUMBERS.fullmatch(text)
    if match is None:
        raise BadRequest(reason=f"API Version String {text} is of invalid format. Must be of format MajorNum.MinorNum.")
    return Version(int(match[1]), int(match[2]))


def supported(version: Version | None) -> Version:
    """The version to honour; the lowest where none was asked for. Raises VersionNotSupported."""
    if version is None:
        return LOWEST
    if not LOWEST <= version <= HIGHEST:
        raise VersionNotSupported(version=version, minimum=LOWEST, maximum=HIGHEST)
    return version


def announce(response: falcon.Response, version: Version) -> None:
    """Both headers with the version, and that answers differ by them."""
    response.set_header(HEADER, f"compute {version}")
    response.set_header(OLDER_HEADER, str(version))
    response.append_header("Vary", HEADER)
    response.append_header("Vary", OLDER_HEADER)


def _for_compute(header: str | None) -> str | None:
    """The last entry for the compute service in a header of `service version` pairs."""
    found = None
    for entry in (header or "").split(","):
        service, _, version = entry.strip().partition(" ")
        if service.lower() in ("compute", "nova") and version.strip():
            found = version
    return found
