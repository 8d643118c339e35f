"""The guest agent: freezing and thawing the guest's filesystems.

Each command carries its own deadline. libvirt's per-domain agent timeout (virDomainAgentSetResponseTimeout) is left
alone: it is shared by all who use the domain, and would stay changed if we died before setting it back.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from typing import Any

import libvirt
import libvirt_qemu

from stillframe.errors.base import StillframeError
from stillframe.errors.capture import (
    FrozenByOther,
    GuestAgentFailed,
    GuestAgentTimeout,
    GuestAgentUnavailable,
    HypervisorFailed,
)
from stillframe.hypervisor.connection import Connection
from stillframe.hypervisor.translation import running_failure

_ABSENT = ("not connected", "not configured")
_UNANSWERED = (libvirt.VIR_ERR_AGENT_UNRESPONSIVE, libvirt.VIR_ERR_AGENT_UNSYNCED, libvirt.VIR_ERR_OPERATION_TIMEOUT)
_DOES = {
    "guest-fsfreeze-freeze": "freeze the filesystems",
    "guest-fsfreeze-thaw": "thaw the filesystems",
    "guest-fsfreeze-status": "tell whether filesystems are frozen",
    "guest-fstrim": "trim the filesystems",
}
_FROZEN_NOW = "frozen state"  # QEMU's agent refuses all but a few commands then, with these words
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0


@dataclass(frozen=True, slots=True)
class Frozen:
    """A freeze that was answered."""

    filesystems: int
    since: float  # time.monotonic() when it was asked for


def freeze(connection: Connection, instance_id: str, timeout: float) -> Frozen:
    """Freezes all filesystems. `timeout` is for each of the agent's answers.

    FrozenByOther: they were frozen before, nothing was done. GuestAgentUnavailable: the freeze was never sent.
    GuestAgentTimeout: it may still happen: thaw until `frozen` says no. GuestAgentFailed: the guest refused.
    """
    domain = connection.domain(instance_id)
    try:
        before = _frozen(domain, timeout)
    except GuestAgentTimeout as error:
        raise GuestAgentUnavailable(instance=instance_id, operator=error.fault.operator) from error
    if before:
        raise FrozenByOther(instance=instance_id)
    try:
        since = time.monotonic()
        return Frozen(int(_ask(domain, "guest-fsfreeze-freeze", timeout)), since)
    except GuestAgentFailed as error:
        if _FROZEN_NOW in error.fault.operator:
            raise FrozenByOther(instance=instance_id, operator=error.fault.operator) from error
        raise


def thaw(connection: Connection, instance_id: str, timeout: float) -> int:
    """Thaws all filesystems; how many. Nothing frozen is 0 and no error."""
    return int(_ask(connection.domain(instance_id), "guest-fsfreeze-thaw", timeout))


def frozen(connection: Connection, instance_id: str, timeout: float) -> bool:
    """Whether filesystems are frozen. A no after an unanswered freeze is final: the agent answers in order."""
    return _frozen(connection.domain(instance_id), timeout)


def thaw_surely(connection: Connection, instance_id: str, timeout: float, deadline: float) -> None:
    """Thaws, again and again, until the agent says that nothing is frozen.

    `deadline` is of time.monotonic(); past it the last failure is raised.
    """
    pause = _FIRST_PAUSE
    while True:
        try:
            while frozen(connection, instance_id, timeout):
                thaw(connection, instance_id, timeout)
        except (GuestAgentUnavailable, GuestAgentTimeout, GuestAgentFailed):
            if time.monotonic() + pause > deadline:
                raise
        else:
            return
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def trim(connection: Connection, instance_id: str, timeout: float) -> None:
    """Has the guest discard what its filesystems do not use; after GuestAgentTimeout it goes on by itself."""
    _ask(connection.domain(instance_id), "guest-fstrim", timeout)


def _frozen(domain: Any, timeout: float) -> bool:
    return bool(_ask(domain, "guest-fsfreeze-status", timeout) != "thawed")


def _ask(domain: Any, command: str, timeout: float) -> Any:
    request = json.dumps({"execute": command})
    try:
        answer = libvirt_qemu.qemuAgentCommand(domain, request, max(1, math.ceil(timeout)), 0)
    except libvirt.libvirtError as error:
        raise _failure(error, command, timeout, domain) from error
    return json.loads(answer)["return"]


def _failure(error: libvirt.libvirtError, command: str, timeout: float, domain: Any) -> StillframeError:
    instance, words = domain.UUIDString(), str(error)
    if any(absent in words for absent in _ABSENT):
        return GuestAgentUnavailable(instance=instance, operator=words)
    if error.get_error_code() in _UNANSWERED:
        return GuestAgentTimeout(instance=instance, seconds=timeout, operator=words)
    told = running_failure(error, _DOES[command], domain)
    if isinstance(told, HypervisorFailed):
        return GuestAgentFailed(instance=instance, what=_DOES[command], operator=words)
    return told
