"""Whether a domain runs, and stopping its processors for a moment."""

from __future__ import annotations

from typing import Any

import libvirt

from stillframe.hypervisor.connection import Connection
from stillframe.hypervisor.runs import run_of
from stillframe.hypervisor.translation import translated, translated_running
from stillframe.model import PowerState, VmState

IO_ERROR = "ioerror"  # why libvirt paused a guest: a write to its disk (or to scratch) failed

# SHUTDOWN is libvirt's word for "about to be off": QEMU still holds the disks
_POWER = {
    libvirt.VIR_DOMAIN_RUNNING: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_SHUTDOWN: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: PowerState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTOFF: PowerState.SHUTDOWN,
    libvirt.VIR_DOMAIN_CRASHED: PowerState.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: PowerState.SUSPENDED,
}
_VM = {
    PowerState.RUNNING: VmState.ACTIVE,
    PowerState.PAUSED: VmState.PAUSED,
    PowerState.SHUTDOWN: VmState.STOPPED,
    PowerState.SUSPENDED: VmState.PAUSED,  # asleep in its memory: QEMU lives, as for any paused guest
}
_REASONS = {
    libvirt.VIR_DOMAIN_PAUSED: (
        "unknown", "user", "migration", "save", "dump", IO_ERROR, "watchdog", "from snapshot", "shutting down",
        "snapshot", "crashed", "starting up", "postcopy", "postcopy failed",
    ),
    libvirt.VIR_DOMAIN_SHUTOFF: (
        "unknown", "shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "from snapshot", "daemon",
    ),
}  # fmt: skip


def state(connection: Connection, instance_id: str) -> tuple[PowerState, str]:
    """The power state, and libvirt's reason when it is paused or off: "user", IO_ERROR, "destroyed"; else ""."""
    return state_of(connection.domain(instance_id))


def state_of(domain: Any) -> tuple[PowerState, str]:
    """As `state`, of libvirt's own domain object."""
    with translated("tell the state of a domain", domain):
        number, reason = domain.state(0)
    reasons = _REASONS.get(number, ())
    return _POWER.get(number, PowerState.NOSTATE), reasons[reason] if reason < len(reasons) else ""


def vm_state(power: PowerState, *, managed_save: bool) -> VmState:
    """Nova's vm_state; a domain that is off and has a managed save image is suspended."""
    if power is PowerState.SHUTDOWN and managed_save:
        return VmState.SUSPENDED
    return _VM.get(power, VmState.ERROR)


def run(connection: Connection, instance_id: str) -> str | None:
    """The id of this run of the domain (see runs.py); None when it does not run. Raises InstanceGone when unknown."""
    return run_of(connection.uri, connection.domain(instance_id))


def suspend(connection: Connection, instance_id: str) -> bool:
    """Stops a running guest's processors; False when it was not running, and then nothing was done.

    Writes under way are on the disk when it returns.
    """
    domain = connection.domain(instance_id)
    if state_of(domain)[0] is not PowerState.RUNNING:
        return False
    with translated_running("suspend a domain", domain):
        domain.suspend()
    return True


def resume(connection: Connection, instance_id: str, run: str | None = None) -> bool:
    """Lets a paused guest go on; False when it was not paused, or (with `run` given) is in another run."""
    domain = connection.domain(instance_id)
    if run is not None and run_of(connection.uri, domain) != run:
        return False
    if state_of(domain)[0] is not PowerState.PAUSED:
        return False
    with translated_running("resume a domain", domain):
        domain.resume()
    return True


def resume_after_io_error(connection: Connection, instance_id: str, run: str) -> bool:
    """As `resume`, of a guest that libvirt paused because a write failed: the write is tried again, nothing is lost."""
    domain = connection.domain(instance_id)
    if run_of(connection.uri, domain) != run or state_of(domain) != (PowerState.PAUSED, IO_ERROR):
        return False
    with translated_running("resume a domain", domain):
        domain.resume()
    return True
