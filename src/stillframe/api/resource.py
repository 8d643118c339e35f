"""Between Falcon and the handlers: one object a URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import falcon

from stillframe.api.call import LEGACY, Answer, Call, Caller, Handler, query_of
from stillframe.errors.request import BadRequest

STRANGER = Caller(user_id="", project_id="", roles=frozenset())  # at routes that are open to anybody


class Resource:
    """The methods of one URL. Falcon looks for on_get and so on."""

    def __init__(self, methods: Mapping[str, Handler], public_url: str | None, *, open: bool = False) -> None:  # noqa: A002
        self.open = open
        self._public_url = public_url.rstrip("/") if public_url else None
        for method, handler in methods.items():
            setattr(self, f"on_{method.lower()}", self._responder(handler))

    def _responder(self, handler: Handler) -> Any:
        def respond(request: falcon.Request, response: falcon.Response, **names: str) -> None:
            project = names.pop("url_project", None)
            call = self._call(request, project)
            _send(response, handler(call, **names))

        return respond

    def _call(self, request: falcon.Request, project: str | None) -> Call:
        caller = request.context.caller or STRANGER
        if project is not None and project != caller.project_id:
            raise BadRequest(
                reason=f"Malformed request URL: URL's project_id '{project[:100]}' doesn't match"
                f" Context's project_id '{caller.project_id}'"
            )
        return Call(
            request=request,
            caller=caller,
            version=request.context.version or LEGACY,
            request_id=request.context.request_id,
            base=self._public_url or request.prefix,
            project=project,
            query=query_of(request),
        )


def _send(response: falcon.Response, answer: Answer) -> None:
    response.status = falcon.code_to_http_status(answer.status)
    response.set_headers(dict(answer.headers))
    if answer.stream is not None:
        response.stream = answer.stream
    elif answer.text is not None:
        response.text = answer.text
    elif answer.body is not None:
        response.media = answer.body
