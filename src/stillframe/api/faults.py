"""Failures as answers: Nova's fault bodies, with Stillframe's code and hint as further keys."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import falcon

from stillframe.errors.base import StillframeError, fault_of
from stillframe.model import Fault

LOG = logging.getLogger(__name__)

NAMES = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}
CHALLENGE = 'Basic realm="Stillframe", charset="UTF-8"'


class Faults:
    """Turns exceptions into answers. `shows_operator` says whether this request's caller may read paths and hosts."""

    def __init__(self, shows_operator: Callable[[falcon.Request], bool], challenge: str | None) -> None:
        """`challenge`: the header of a 401; None where somebody else writes it."""
        self._shows_operator = shows_operator
        self._challenge = challenge

    def install(self, app: falcon.App[falcon.Request, falcon.Response]) -> None:
        """Registers the three handlers: what we foresaw, what Falcon refuses, and everything else."""
        app.add_error_handler(Exception, self._unforeseen)
        app.add_error_handler(falcon.HTTPError, self._refused)
        app.add_error_handler(StillframeError, self._foreseen)

    def _foreseen(self, request: falcon.Request, response: falcon.Response, error: StillframeError, _: Any) -> None:
        fault = error.fault
        if fault.status >= 500:
            LOG.error("%s %s: %s", request.context.request_id, fault.code, error, exc_info=error)
        if fault.status == 401 and self._challenge is not None:
            response.set_header("WWW-Authenticate", self._challenge)
        self._answer(request, response, fault)

    def _refused(self, request: falcon.Request, response: falcon.Response, error: falcon.HTTPError, _: Any) -> None:
        status = falcon.http_status_to_code(error.status)
        message = error.description or _words(status, request)
        for name, value in dict(error.headers or {}).items():
            response.set_header(name, value)
        code = NAMES.get(status, "refused")
        self._answer(request, response, Fault(code=_dashed(code), message=message, status=status))

    def _unforeseen(self, request: falcon.Request, response: falcon.Response, error: Exception, _: Any) -> None:
        LOG.error("%s unforeseen failure", request.context.request_id, exc_info=error)
        self._answer(request, response, fault_of(error))

    def _answer(self, request: falcon.Request, response: falcon.Response, fault: Fault) -> None:
        response.status = falcon.code_to_http_status(fault.status)
        response.content_type = "application/json"
        operator = bool(fault.operator) and self._shows_operator(request)
        response.media = body_of(fault, request.context.request_id, operator=operator)


def body_of(fault: Fault, request_id: str | None = None, *, operator: bool = False) -> dict[str, Any]:
    """Nova's fault body; `operator`: with the part that is for administrators only."""
    body: dict[str, Any] = {"code": fault.status, "message": fault.message, "error": fault.code}
    if fault.hint:
        body["hint"] = fault.hint
    if fault.status >= 500 and request_id is not None:
        body["request_id"] = request_id
    if operator:
        body["operator"] = fault.operator
    return {NAMES.get(fault.status, "computeFault"): body}


def _words(status: int, request: falcon.Request) -> str:
    """A sentence for a refusal of Falcon's that has none."""
    if status == 404:
        return "The resource could not be found."
    if status == 405:
        return f"The method {request.method} is not allowed for this resource."
    return str(falcon.code_to_http_status(status)).partition(" ")[2]


def _dashed(name: str) -> str:
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name)
