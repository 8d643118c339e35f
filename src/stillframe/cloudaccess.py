"""The way to a service of the cloud, as somebody: the user who asks, or this process's own service user."""

from __future__ import annotations

from typing import Any

from keystoneauth1 import exceptions as keystone
from keystoneauth1 import loading
from keystoneauth1.adapter import Adapter
from keystoneauth1.session import Session
from oslo_config import cfg
from requests import Response

from stillframe.config import Settings
from stillframe.errors.service import ConfigInvalid

USER_GROUP = "service_user"  # of keystoneauth's options: as whom we go on our own behalf, and how
KEYSTONE_SECONDS = 30  # for each answer to a login or a look at the catalogue: keystoneauth's default is no end
REPEATABLE = ("GET", "HEAD", "PUT", "DELETE")  # RFC 9110, 9.2.2: asking twice does what asking once does


class CloudAccess:
    """What the options tell of one service. Connects when it is first used."""

    def __init__(self, settings: Settings, group: str, service_type: str) -> None:
        """`group` has keystoneauth's options of where the service is; its type unless they tell one."""
        self._conf = settings.oslo
        self._group = group
        self._service_type = service_type
        loading.register_adapter_conf_options(self._conf, group)
        loading.register_session_conf_options(self._conf, USER_GROUP)
        self._conf.set_default("timeout", KEYSTONE_SECONDS, group=USER_GROUP)
        loading.register_auth_conf_options(self._conf, USER_GROUP)
        self._session: Session = loading.load_session_from_conf_options(self._conf, USER_GROUP)

    @property
    def endpoint(self) -> str | None:
        """The one that the options name instead of the catalogue's."""
        found: str | None = self._conf[self._group].endpoint_override
        return found

    @property
    def verify(self) -> bool | str:
        """How certificates are checked: requests' verify."""
        found = self._session.verify
        return True if found is None else found

    def as_user(self, auth: object, request_id: str) -> Adapter:
        """As whoever sent a request; `auth` is the keystoneauth plugin of his token."""
        return self._adapter(auth, request_id)

    def as_service(self) -> Adapter:
        """As [service_user]; raises ConfigInvalid where there is none."""
        try:
            auth = loading.load_auth_from_conf_options(self._conf, USER_GROUP)
        except (keystone.ClientException, cfg.Error) as error:
            raise ConfigInvalid(reason=f"[{USER_GROUP}]: {error}") from error
        if auth is None:
            raise ConfigInvalid(reason=f"[{self._group}] needs [{USER_GROUP}] auth_type and what belongs to it")
        return self._adapter(auth, None)

    def _adapter(self, auth: object, request_id: str | None) -> Adapter:
        adapter = loading.load_adapter_from_conf_options(
            self._conf, self._group, session=self._session, auth=auth, global_request_id=request_id
        )
        adapter.service_type = adapter.service_type or self._service_type
        adapter.interface = adapter.interface or ["internal", "public"]
        return adapter


def answered(adapter: Adapter, url: str, method: str, *, repeatable: bool, timeout: float, **more: Any) -> Response:
    """Whatever the service answers, `timeout` in seconds. Raises keystoneauth's errors.

    A connection that was kept may be closed by the other side just when it is used again: what is repeatable is then
    asked once more.
    """
    try:
        answer: Response = adapter.request(url, method, raise_exc=False, timeout=timeout, **more)
    except keystone.ConnectFailure:  # never a timeout
        if not repeatable:
            raise
        answer = adapter.request(url, method, raise_exc=False, timeout=timeout, **more)
    return answer


def why(error: keystone.ClientException) -> str:
    """Why there was no answer, in words for everybody."""
    if isinstance(error, keystone.EndpointNotFound):
        return "the catalogue has no endpoint of it"
    if isinstance(error, keystone.Unauthorized):
        return "Keystone does not let us in"
    if isinstance(error, keystone.ConnectTimeout | keystone.RequestTimeout):
        return "there was no answer in time"
    return "it or Keystone does not answer"
