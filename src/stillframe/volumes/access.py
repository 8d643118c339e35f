"""The way to Cinder, as somebody: the user who asks, or this process's own service user."""

from __future__ import annotations

from stillframe.cloudaccess import CloudAccess
from stillframe.config import Settings
from stillframe.volumes.cinder import Cinder


class Access:
    """What the options tell."""

    def __init__(self, settings: Settings) -> None:
        """Connects when it is first used."""
        self._access = CloudAccess(settings, "cinder", "block-storage")
        self._timeout = settings.cinder.timeout

    def as_user(self, auth: object, request_id: str) -> Cinder:
        """As whoever sent a request; `auth` is the keystoneauth plugin of his token."""
        return Cinder(self._access.as_user(auth, request_id), self._timeout)

    def as_service(self) -> Cinder:
        """As [service_user]; raises ConfigInvalid where there is none."""
        return Cinder(self._access.as_service(), self._timeout)
