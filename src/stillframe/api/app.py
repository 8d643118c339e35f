"""The API as a WSGI application, for any WSGI server."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from wsgiref.types import WSGIApplication

import falcon
from falcon.media import JSONHandler

from stillframe.api import routes
from stillframe.api.auth import sign_in
from stillframe.api.beside import BesideNova, Way, Ways
from stillframe.api.deps import Deps
from stillframe.api.faults import CHALLENGE, Faults
from stillframe.api.metrics import CaptureCounts, Metering, StoreCounts, StrayCount
from stillframe.api.middleware import Microversions, RequestIds, SigningIn
from stillframe.api.policy import Policy
from stillframe.api.resource import Resource
from stillframe.config import KEYSTONE
from stillframe.errors.service import ConfigInvalid

App = falcon.App[falcon.Request, falcon.Response]


def application(deps: Deps) -> WSGIApplication:
    """The application; raises ConfigInvalid for options of [api] that cannot be used."""
    by_token = deps.settings.api.auth == KEYSTONE
    if deps.glance is not None and not by_token:
        raise ConfigInvalid(
            reason="[images] store = glance needs [api] auth = keystone: images are made by their users"
        )
    policy, signing_in = Policy(deps.settings.oslo), SigningIn(sign_in(deps.settings.api))
    app = App(
        middleware=[
            Metering(deps.registry),  # first, so that its clock runs over everything
            RequestIds(),  # every later failure is logged and answered with the id
            Microversions(),  # before signing in: a 401 names its microversion too
            signing_in,
        ]
    )
    app.req_options.strip_url_path_trailing_slash = True
    # ASCII only, so that a refusal can quote whatever was sent
    app.resp_options.media_handlers[falcon.MEDIA_JSON] = JSONHandler(dumps=json.dumps)
    app.req_options.auto_parse_qs_csv = False
    Faults(lambda request: _is_operator(policy, request), None if by_token else CHALLENGE).install(app)
    _mount(app, deps, policy)
    deps.registry.register(CaptureCounts(deps.captures.counts))
    deps.registry.register(StrayCount(deps.strays))
    if deps.store is not None:
        deps.registry.register(StoreCounts(deps.store))
    if not by_token:
        return app
    from stillframe.api.tokenguard import guarded  # noqa: PLC0415 - half a second of libraries

    front = guarded(app, deps.settings.oslo)
    if deps.relay is None:
        return front
    return BesideNova(front, deps.relay, deps.servers, _ways(deps, policy), deps.settings.api.public_url)


def _ways(deps: Deps, policy: Policy) -> Ways:
    """Whose each URL is where Nova is behind."""
    own = {**routes.public(deps, policy), **routes.service(deps, policy)}
    if deps.store is not None:
        below = routes.image(deps, deps.store, policy)
        own |= {root + path: methods for root in routes.IMAGE_ROOTS for path, methods in below.items()}
    shared = {root + path: ways for root in routes.COMPUTE_ROOTS for path, ways in routes.BESIDE_NOVA.items()}
    return shared | {path: dict.fromkeys(methods, Way.OWN) for path, methods in own.items()}


def _mount(app: App, deps: Deps, policy: Policy) -> None:
    url = deps.settings.api.public_url
    for path, methods in routes.public(deps, policy).items():
        app.add_route(path, Resource(methods, url, open=True))
    for path, methods in routes.service(deps, policy).items():
        app.add_route(path, Resource(methods, url))
    compute = {path: Resource(methods, url) for path, methods in routes.compute(deps, policy).items()}
    _mount_below(app, routes.COMPUTE_ROOTS, compute)
    images = routes.images_elsewhere() if deps.store is None else routes.image(deps, deps.store, policy)
    _mount_below(app, routes.IMAGE_ROOTS, {path: Resource(methods, url) for path, methods in images.items()})


def _mount_below(app: App, roots: Iterable[str], resources: Mapping[str, Resource]) -> None:
    for root in roots:
        for path, resource in resources.items():
            app.add_route(root + path, resource)


def _is_operator(policy: Policy, request: falcon.Request) -> bool:
    caller = request.context.caller
    return caller is not None and policy.allows(caller, "stillframe:faults:operator")
