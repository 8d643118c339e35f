"""Where Nova is, and as whom Stillframe goes there when it asks on its own behalf."""

from __future__ import annotations

import re
import ssl

from keystoneauth1 import exceptions as keystone
from keystoneauth1 import loading
from keystoneauth1.adapter import Adapter
from keystoneauth1.session import Session
from oslo_config import cfg

from stillframe.config import Settings
from stillframe.errors.nova import NovaUnreachable
from stillframe.errors.service import ConfigInvalid

GROUP, USER_GROUP = "nova", "service_user"  # of keystoneauth's options: where Nova is, and as whom we go there
_VERSIONED = re.compile(r"/v2(\.\d+)?(/[^/]*)?/*$")  # the end of an endpoint: version, and a project for old clients


class Access:
    """The way to Nova that the options tell."""

    def __init__(self, settings: Settings) -> None:
        """Connects when it is first used."""
        self._conf = settings.oslo
        loading.register_adapter_conf_options(self._conf, GROUP)
        loading.register_session_conf_options(self._conf, USER_GROUP)
        loading.register_auth_conf_options(self._conf, USER_GROUP)
        self._session: Session = loading.load_session_from_conf_options(self._conf, USER_GROUP)
        self._named: str | None = self._conf[GROUP].endpoint_override
        self._adapter: Adapter | None = None if self._named else self.adapter()

    def root(self) -> str:
        """Nova's URL, up to where the version begins. Raises NovaUnreachable."""
        found = self._named
        if self._adapter is not None:
            try:
                found = self._adapter.get_endpoint()
            except keystone.ClientException as error:
                raise NovaUnreachable(reason="Keystone does not tell where it is", operator=str(error)) from error
        if not found:
            raise NovaUnreachable(reason="the catalogue has no such endpoint of the compute service")
        return _VERSIONED.sub("", found).rstrip("/")

    def adapter(self) -> Adapter:
        """For calls as [service_user]; raises ConfigInvalid where there is none."""
        try:
            auth = loading.load_auth_from_conf_options(self._conf, USER_GROUP)
        except (keystone.ClientException, cfg.Error) as error:
            raise ConfigInvalid(reason=f"[{USER_GROUP}]: {error}") from error
        if auth is None:
            raise ConfigInvalid(reason=f"[{GROUP}] needs [{USER_GROUP}] auth_type and what belongs to it")
        adapter = loading.load_adapter_from_conf_options(self._conf, GROUP, session=self._session, auth=auth)
        adapter.service_type = adapter.service_type or "compute"
        adapter.interface = adapter.interface or ["internal", "public"]
        return adapter

    def tls(self) -> ssl.SSLContext:
        """How Nova's certificate is checked: as Keystone's, by [service_user] cafile and insecure."""
        verify = self._session.verify
        context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
        if verify is False:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context
