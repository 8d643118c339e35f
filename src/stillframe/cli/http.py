"""Requests to one endpoint; every failure comes back as a StillframeError with the service's own words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stillframe.errors.base import Reported
from stillframe.errors.client import ServiceUnreachable, SocketForbidden, UnexpectedAnswer
from stillframe.errors.request import NotSignedIn
from stillframe.model import Fault

if TYPE_CHECKING:
    from keystoneauth1.session import Session
    from requests import Response

MICROVERSION = "2.96"  # what these commands were written against
STREAM = {"Accept": "application/octet-stream", "Accept-Encoding": "identity"}


class Http:
    """One endpoint with its base path."""

    def __init__(self, session: Session, root: str, name: str) -> None:
        self._session = session
        self._root = root
        self._name = name

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """The answer's JSON object; arguments that are None are left out."""
        params = {key: value for key, value in query.items() if value is not None}
        return self._json(self.send("GET", path, params=params))

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer's JSON object, {} when it is empty."""
        response = self.send("POST", path, json=body)
        return self._json(response) if response.content else {}

    def delete(self, path: str) -> None:
        """Succeeds or raises."""
        self.send("DELETE", path)

    def stream(self, path: str) -> Response:
        """An answer whose body is still to be read; the caller closes it."""
        return self.send("GET", path, stream=True, headers=STREAM)

    def send(self, method: str, path: str, **arguments: Any) -> Response:
        """One request; raises Reported with the service's fault for any status from 400 on."""
        import keystoneauth1.exceptions as failures  # noqa: PLC0415  (slow to import)

        if not arguments.get("stream"):
            arguments |= {"microversion": MICROVERSION, "microversion_service_type": "compute"}
        try:
            response = self._session.request(self._root + path, method, raise_exc=False, **arguments)
        except (failures.Unauthorized, failures.AuthorizationFailure) as error:
            raise NotSignedIn(operator=str(error)) from error
        except failures.ClientException as error:
            raise self._unreachable(error) from error
        if response.status_code >= 400:
            raise Reported(fault_in(response.status_code, response.text))
        return response

    def _json(self, response: Response) -> dict[str, Any]:
        try:
            body = response.json()
        except ValueError as error:
            raise UnexpectedAnswer(where=self._name, reason="the answer is not JSON") from error
        if not isinstance(body, dict):
            raise UnexpectedAnswer(where=self._name, reason="the answer is not a JSON object")
        return body

    def _unreachable(self, error: BaseException) -> ServiceUnreachable | SocketForbidden:
        cause = _system_error(error)
        if isinstance(cause, PermissionError):
            return SocketForbidden(where=self._name, operator=str(error))
        reason = (cause and cause.strerror) or str(error)
        return ServiceUnreachable(where=self._name, reason=reason.rstrip("."))


def fault_in(status: int, text: str) -> Fault:
    """The fault in an error's body: Nova's {"itemNotFound": {...}}, a flat object, or words."""
    try:
        body = json.loads(text)
    except ValueError:
        body = {}
    if isinstance(body, dict) and len(body) == 1 and isinstance(inner := next(iter(body.values())), dict):
        body = inner
    if not isinstance(body, dict) or "message" not in body:
        return Fault(code=f"http-{status}", message=f"The service answered {status} without saying why.", status=status)
    return Fault(
        code=str(body.get("error", f"http-{status}")),
        message=str(body["message"]),
        hint=str(body.get("hint") or ""),
        operator=str(body.get("operator") or ""),
        status=status,
    )


def _system_error(error: BaseException) -> OSError | None:
    """The system's own error at the bottom of what the HTTP libraries wrapped around it."""
    found: OSError | None = None
    todo: list[BaseException] = [error]
    seen: set[int] = set()
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, OSError) and one.errno is not None and one.strerror:
            found = one
        inner = (one.__cause__, one.__context__, *one.args)
        todo += [each for each in inner if isinstance(each, BaseException)]
    return found
