"""The way to Cinder, as somebody: the user who asks, or this process's own service user."""

from __future__ import annotations

from keystoneauth1 import exceptions as keystone
from keystoneauth1 import loading
from keystoneauth1.session import Session
from oslo_config import cfg

from stillframe.config import Settings
from stillframe.errors.service import ConfigInvalid
from stillframe.volumes.cinder import Cinder

GROUP, USER_GROUP = "cinder", "service_user"  # of keystoneauth's options: where Cinder is, and as whom we go there


class Access:
    """What the options tell."""

    def __init__(self, settings: Settings) -> None:
        """Connects when it is first used. Raises ConfigInvalid."""
        self._conf = settings.oslo
        self._timeout = settings.cinder.timeout
        loading.register_adapter_conf_options(self._conf, GROUP)
        loading.register_session_conf_options(self._conf, USER_GROUP)
        loading.register_auth_conf_options(self._conf, USER_GROUP)
        self._session: Session = loading.load_session_from_conf_options(self._conf, USER_GROUP)

    def as_user(self, auth: object, request_id: str) -> Cinder:
        """As whoever sent a request; `auth` is the keystoneauth plugin of his token."""
        return self._cinder(auth, request_id)

    def as_service(self) -> Cinder:
        """As [service_user]; raises ConfigInvalid."""
        try:
            auth = loading.load_auth_from_conf_options(self._conf, USER_GROUP)
        except (keystone.ClientException, cfg.Error) as error:
            raise ConfigInvalid(reason=f"[{USER_GROUP}]: {error}") from error
        return self._cinder(auth, None)

    def _cinder(self, auth: object, request_id: str | None) -> Cinder:
        adapter = loading.load_adapter_from_conf_options(
            self._conf, GROUP, session=self._session, auth=auth, global_request_id=request_id
        )
        adapter.service_type = adapter.service_type or "block-storage"
        adapter.interface = adapter.interface or ["internal", "public"]
        return Cinder(adapter, self._timeout)
