"""What happens to every request before and after its handler; app.py says in which order."""

from __future__ import annotations

import logging
import time
import uuid

import falcon

from stillframe.api import microversion
from stillframe.api.auth import SignIn
from stillframe.api.resource import Resource

LOG = logging.getLogger(__name__)
MICROVERSIONED = "/v2.1"


class RequestIds:
    """Gives every request an id, in both of Nova's headers and in the log."""

    def process_request(self, request: falcon.Request, response: falcon.Response) -> None:
        """Made here; a client's own id is not taken over, since it might be used twice."""
        request.context.request_id = identifier = f"req-{uuid.uuid4()}"
        request.context.caller = None
        response.set_header("x-openstack-request-id", identifier)
        response.set_header("x-compute-request-id", identifier)

    def process_response(
        self,
        request: falcon.Request,
        response: falcon.Response,
        _resource: object,
        _succeeded: bool,
    ) -> None:
        """One line a request."""
        caller = request.context.caller
        LOG.info(
            "%s %s %s %s %s %.1f ms",
            request.context.request_id,
            caller.user_id if caller else "-",
            request.method,
            request.path.encode("unicode_escape").decode(),  # a line break in it forges no line
            response.status_code,
            1000 * (time.monotonic() - request.context.started),
        )


class Microversions:
    """Under /v2.1 every answer names its microversion, refusals too; elsewhere the headers mean nothing."""

    def process_request(self, request: falcon.Request, response: falcon.Response) -> None:
        """Refuses what is not supported."""
        request.context.version = None
        if request.path != MICROVERSIONED and not request.path.startswith(f"{MICROVERSIONED}/"):
            return
        asked = microversion.asked(request)
        microversion.announce(response, asked or microversion.supported(None))
        request.context.version = microversion.supported(asked)


class SigningIn:
    """Finds out who asks, except where the route is open to anybody."""

    def __init__(self, sign_in: SignIn) -> None:
        self._sign_in = sign_in

    def process_resource(
        self,
        request: falcon.Request,
        _response: falcon.Response,
        resource: object,
        _params: dict[str, str],
    ) -> None:
        """Before the handler; raises NotSignedIn."""
        if not (isinstance(resource, Resource) and resource.open):
            request.context.caller = self._sign_in(request)
