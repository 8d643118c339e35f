"""libvirt's errors, told in Stillframe's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import libvirt

from stillframe.errors.base import StillframeError
from stillframe.errors.capture import HypervisorFailed, HypervisorUnavailable, InstanceGone

_BROKEN_DOMAINS = (libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE)
_BROKEN_CODES = (libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_ERR_INVALID_CONN)


@contextmanager
def translated(what: str, domain: Any = None) -> Iterator[None]:
    """Raises libvirt's errors inside as Stillframe's.

    what: completes "The hypervisor could not ...". domain: what the work is done on, where it is done on one.

    HypervisorUnavailable: the connection broke. InstanceGone: the domain is unknown. HypervisorFailed: anything else.
    """
    try:
        yield
    except libvirt.libvirtError as error:
        raise failure(error, what, domain) from error


@contextmanager
def translated_running(what: str, domain: Any) -> Iterator[None]:
    """As `translated`, for work that only a running domain can do: InstanceGone also when it has stopped."""
    try:
        yield
    except libvirt.libvirtError as error:
        raise running_failure(error, what, domain) from error


def failure(error: libvirt.libvirtError, what: str, domain: Any = None) -> StillframeError:
    """The Stillframe error for one of libvirt's; see `translated`."""
    words = str(error)
    if error.get_error_domain() in _BROKEN_DOMAINS or error.get_error_code() in _BROKEN_CODES:
        return HypervisorUnavailable(operator=words)
    if domain is not None and error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
        return InstanceGone(instance=domain.UUIDString(), what="was undefined", operator=words)
    return HypervisorFailed(what=what, operator=words)


def running_failure(error: libvirt.libvirtError, what: str, domain: Any) -> StillframeError:
    """The Stillframe error for one of libvirt's; see `translated_running`."""
    told = failure(error, what, domain)
    if isinstance(told, HypervisorFailed) and _stopped(domain):
        return InstanceGone(instance=domain.UUIDString(), what="was stopped", operator=str(error))
    return told


def _stopped(domain: Any) -> bool:
    """Whether the domain is known not to run; an answer that cannot be had is no proof."""
    try:
        return not domain.isActive()
    except libvirt.libvirtError as error:
        return bool(error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN)
