"""keystonemiddleware before the application: it tells whose token a request has, and nobody else can."""

from __future__ import annotations

import json
from typing import Any
from wsgiref.types import WSGIApplication

import webob.exc
from keystoneauth1 import exceptions as keystone
from keystonemiddleware import auth_token
from keystonemiddleware.auth_token._exceptions import InvalidToken, ServiceError
from keystonemiddleware.opts import list_auth_token_opts
from oslo_config import cfg

from stillframe.api.faults import body_of
from stillframe.errors.glance import KeystoneUnreachable

GROUP = "keystone_authtoken"
SECONDS = 10  # for each answer of Keystone, which is asked up to four times: the middleware's default is no end
AWAY = (keystone.ConnectFailure, keystone.DiscoveryFailure, keystone.RequestTimeout, ServiceError)


class _Tokens(auth_token.AuthProtocol):  # type: ignore[misc]
    """Lets requests without a good token through, for routes that are open to anybody."""

    def fetch_token(self, token: str, **more: Any) -> Any:
        """What the token stands for. Where nobody can tell, the client is not told that it is wrong."""
        try:
            return super().fetch_token(token, **more)
        except keystone.ConnectTimeout as error:  # the middleware does not expect it
            raise _unavailable() from error
        except InvalidToken as error:
            if isinstance(error.__context__, AWAY):
                raise _unavailable() from error
            raise


def guarded(app: WSGIApplication, conf: cfg.ConfigOpts) -> WSGIApplication:
    """The application behind the middleware, by [keystone_authtoken]."""
    for group, options in list_auth_token_opts():
        conf.register_opts(options, group=group)
    conf.set_default("http_connect_timeout", SECONDS, group=GROUP)
    made: WSGIApplication = _Tokens(app, {"oslo_config_config": conf, "delay_auth_decision": True})
    return made


def _unavailable() -> webob.exc.HTTPException:
    body = json.dumps(body_of(KeystoneUnreachable().fault)).encode()
    return webob.exc.HTTPServiceUnavailable(body=body, content_type="application/json", charset="UTF-8")
