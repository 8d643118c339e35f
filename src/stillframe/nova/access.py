"""Where Nova is, and as whom Stillframe goes there when it asks on its own behalf."""

from __future__ import annotations

import re
import ssl

from keystoneauth1 import exceptions as keystone
from keystoneauth1.adapter import Adapter

from stillframe.cloudaccess import CloudAccess
from stillframe.config import Settings
from stillframe.errors.nova import NovaUnreachable

_VERSIONED = re.compile(r"/v2(\.\d+)?(/[^/]*)?/*$")  # the end of an endpoint: version, and a project for old clients


class Access:
    """The way to Nova that the options tell."""

    def __init__(self, settings: Settings) -> None:
        """Connects when it is first used. Raises ConfigInvalid where only [service_user] could ask where Nova is."""
        self._access = CloudAccess(settings, "nova", "compute")
        self._adapter: Adapter | None = None if self._access.endpoint else self.adapter()

    def root(self) -> str:
        """Nova's URL, up to where the version begins. Raises NovaUnreachable."""
        found = self._access.endpoint
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
        return self._access.as_service()

    def tls(self) -> ssl.SSLContext:
        """How Nova's certificate is checked: as Keystone's, by [service_user] cafile and insecure."""
        verify = self._access.verify
        context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
        if verify is False:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context
