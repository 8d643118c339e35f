"""Nova's servers, as Stillframe itself asks of them: as [service_user], never as a user."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from keystoneauth1 import exceptions as keystone
from requests import Response

from stillframe.cloudaccess import answered, why
from stillframe.errors.base import StillframeError
from stillframe.errors.nova import NovaFailed, NovaForbids, NovaSilent, NovaUnreachable
from stillframe.errors.request import InstanceNotFound
from stillframe.nova.access import Access

SECONDS = 10.0  # for each answer: somebody waits for it
VERSION = {"OpenStack-API-Version": "compute 2.73"}  # the first whose locks have reasons
AWAY = (NovaUnreachable.code, NovaSilent.code, NovaFailed.code)  # what says nothing about the server


@dataclass(frozen=True, slots=True)
class Standing:
    """How a server stands in Nova's records."""

    vm_state: str
    task_state: str | None = None
    locked: bool = False
    locked_reason: str | None = None


class NovaServers:
    """Any number of threads. Every call raises InstanceNotFound, or a StillframeError of Nova's absence or refusal."""

    def __init__(self, access: Access) -> None:
        """Raises ConfigInvalid where there is no [service_user]."""
        self._access = access
        self._adapter = access.adapter()

    def standing(self, server_id: str) -> Standing:
        """How it stands now."""
        answer = self._ask("GET", server_id, "", f"show server {server_id}")
        try:
            server = answer.json()["server"]
            return Standing(
                vm_state=server["OS-EXT-STS:vm_state"],
                task_state=server["OS-EXT-STS:task_state"],
                locked=bool(server["locked"]),
                locked_reason=server["locked_reason"],
            )
        except (ValueError, LookupError, TypeError) as error:
            raise NovaFailed(what=f"show server {server_id}", answer="something else") from error

    def lock(self, server_id: str, reason: str) -> None:
        """Locks it, whether it is locked or not."""
        self._ask("POST", server_id, "/action", f"lock server {server_id}", {"lock": {"locked_reason": reason}})

    def unlock(self, server_id: str) -> None:
        """Unlocks it, whoever locked it."""
        self._ask("POST", server_id, "/action", f"unlock server {server_id}", {"unlock": None})

    def _ask(self, method: str, server_id: str, path: str, what: str, body: Any = None) -> Response:
        url = f"{self._access.root()}/v2.1/servers/{server_id}{path}"
        more = {} if body is None else {"json": body}
        try:
            answer = answered(
                self._adapter, url, method, repeatable=True, timeout=SECONDS, headers=dict(VERSION), **more
            )
        except (keystone.ConnectTimeout, keystone.RequestTimeout) as error:
            raise NovaSilent(seconds=SECONDS) from error
        except keystone.ClientException as error:
            raise NovaUnreachable(reason=why(error), operator=str(error)) from error
        if answer.status_code >= HTTPStatus.BAD_REQUEST:
            raise _refusal(answer, server_id, what)
        return answer


def _refusal(answer: Response, server_id: str, what: str) -> StillframeError:
    if answer.status_code == HTTPStatus.NOT_FOUND:
        return InstanceNotFound(instance=server_id)
    if answer.status_code in (HTTPStatus.FORBIDDEN, HTTPStatus.UNAUTHORIZED):
        return NovaForbids(what=what, operator=answer.text[:300])
    return NovaFailed(what=what, answer=answer.status_code, operator=answer.text[:300])
