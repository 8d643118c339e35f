"""The instances of this host, as libvirt knows them now."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import libvirt

from stillframe.errors.capture import InstanceGone
from stillframe.hypervisor import power
from stillframe.hypervisor.connection import Connection
from stillframe.hypervisor.domainxml import Definition, dac_owner, definition
from stillframe.hypervisor.runs import owner_of, run_of
from stillframe.hypervisor.translation import translated
from stillframe.model import Disk, Instance, PowerState

# a domain whose monitor is busy or hangs must not hold up all others: its sizes are missing then
_NOWAIT = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT

Sizes = dict[str, int]  # of the disks of one instance, by target, in bytes


def inventory(connection: Connection) -> tuple[Instance, ...]:
    """Every domain of the host, running or not, sorted by id. One that vanishes meanwhile is left out.

    Raises HypervisorUnavailable: a lost connection is not an empty list.
    """
    handle = connection.handle()
    with translated("list its domains"):
        domains = handle.listAllDomains(0)
        sizes = _sizes(handle.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_BLOCK, _NOWAIT))
    found = (_present(connection, domain, sizes.get(domain.UUIDString(), {})) for domain in domains)
    return tuple(sorted((instance for instance in found if instance is not None), key=lambda instance: instance.id))


def instance(connection: Connection, instance_id: str) -> Instance:
    """The instance with this id; raises InstanceGone, HypervisorUnavailable."""
    domain = connection.domain(instance_id)
    with translated("tell the sizes of disks", domain):
        stats = connection.handle().domainListGetStats([domain], libvirt.VIR_DOMAIN_STATS_BLOCK, _NOWAIT)
    return _instance(connection, domain, _sizes(stats).get(instance_id, {}))


def live_xml(connection: Connection, instance_id: str) -> str:
    """The XML of the domain as it runs, or as it is defined when it does not."""
    domain = connection.domain(instance_id)
    with translated("describe a domain", domain):
        return str(domain.XMLDesc(0))


def qemu_owner(connection: Connection, instance_id: str) -> tuple[int, int] | None:
    """User and group that the domain's QEMU runs as; None when it does not run or nothing tells."""
    domain = connection.domain(instance_id)
    return owner_of(connection.uri, domain) or dac_owner(live_xml(connection, instance_id))


def _sizes(stats: list[tuple[Any, dict[str, Any]]]) -> dict[str, Sizes]:
    """Sizes by instance id, from libvirt's statistics: block.count, block.0.name, block.0.capacity, ..."""
    return {
        domain.UUIDString(): {
            values[f"block.{n}.name"]: values.get(f"block.{n}.capacity", 0)
            for n in range(values.get("block.count", 0))
            if f"block.{n}.name" in values
        }
        for domain, values in stats
    }


def _present(connection: Connection, domain: Any, sizes: Sizes) -> Instance | None:
    try:
        return _instance(connection, domain, sizes)
    except InstanceGone:
        return None


def _instance(connection: Connection, domain: Any, sizes: Sizes) -> Instance:
    with translated("describe a domain", domain):
        described = definition(domain.XMLDesc(0))
        persistent = bool(domain.isPersistent())
    state, _ = power.state_of(domain)
    saved = state is PowerState.SHUTDOWN and persistent and _saved(domain)
    return Instance(
        id=described.id,
        name=described.nova.name or described.domain,
        domain=described.domain,
        vm_state=power.vm_state(state, managed_save=saved),
        power_state=state,
        disks=_sized(described, sizes),
        root=described.root,
        run=run_of(connection.uri, domain),
        vcpus=described.vcpus,
        memory_mib=described.memory_mib,
        flavor=described.nova.flavor,
        project_id=described.nova.project_id,
        user_id=described.nova.user_id,
        base_image_id=described.base_image_id,
        persistent=persistent,
    )


def _saved(domain: Any) -> bool:
    with translated("tell whether a domain is saved", domain):
        return bool(domain.hasManagedSaveImage(0))


def _sized(described: Definition, sizes: Sizes) -> tuple[Disk, ...]:
    return tuple(replace(disk, size=sizes.get(disk.target, 0)) for disk in described.disks)
