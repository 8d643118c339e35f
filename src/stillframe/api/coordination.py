"""What asking for a capture has to do with Nova, where the two of them coordinate."""

from __future__ import annotations

import logging

from stillframe.cloudoptions import GO_ON
from stillframe.controller import novalocks
from stillframe.controller.captures import CAPTURABLE
from stillframe.errors.base import StillframeError
from stillframe.errors.request import WrongState
from stillframe.model import Capture
from stillframe.nova.servers import AWAY, NovaServers

LOG = logging.getLogger(__name__)


class Coordination:
    """Asks Nova whether a server may be captured, and locks it."""

    def __init__(self, nova: NovaServers, when_away: str) -> None:
        """`when_away`: [nova] when_away."""
        self._nova = nova
        self._goes_on = when_away == GO_ON

    def expect_free(self, instance_id: str, action: str) -> tuple[bool, str]:
        """Whether it is to be locked, and what is to be said on the timeline.

        Raises WrongState where Nova would refuse the action, InstanceNotFound, and what says that Nova is away.
        """
        try:
            standing = self._nova.standing(instance_id)
        except StillframeError as error:
            if not self._tolerates(error):
                raise
            return False, f"the server is not locked: {error.fault.message}"
        if standing.vm_state not in CAPTURABLE:
            raise WrongState(action=action, instance=instance_id, attribute="vm_state", value=standing.vm_state)
        if standing.task_state is not None:
            raise WrongState(action=action, instance=instance_id, attribute="task_state", value=standing.task_state)
        return not standing.locked, ""

    def lock(self, capture: Capture) -> None:
        """For the time of the capture; the lease is written. Raises what stands against it."""
        try:
            self._nova.lock(capture.instance_id, novalocks.reason(capture.id))
        except StillframeError as error:
            if not self._tolerates(error):
                raise
            LOG.warning("server %s is not locked for capture %s: %s", capture.instance_id, capture.id, error)

    def _tolerates(self, error: StillframeError) -> bool:
        return self._goes_on and error.fault.code in AWAY
