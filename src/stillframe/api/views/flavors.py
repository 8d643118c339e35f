"""Flavors, derived from the domains: a hypervisor knows processors and memory, and Nova's metadata at most a name.

A flavor's id and name is the name in Nova's metadata where there is one, else "<vcpus>c-<MiB>m".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stillframe.api.call import Call
from stillframe.api.views.common import bookmark, links
from stillframe.config import GIB
from stillframe.model import Instance


@dataclass(frozen=True, slots=True)
class Flavor:
    """The size of an instance. It has no disk size: disks are each instance's own."""

    id: str
    vcpus: int
    memory_mib: int


def flavor_of(instance: Instance) -> Flavor:
    """The flavor of an instance, by the rule above."""
    name = instance.flavor or f"{instance.vcpus}c-{instance.memory_mib}m"
    return Flavor(name, instance.vcpus, instance.memory_mib)


def root_gib(instance: Instance) -> int:
    """Size of the root disk in GiB, rounded up; 0 when it cannot be told."""
    disk = instance.disk(instance.root) if instance.root else None
    return -(-disk.size // GIB) if disk else 0


def brief(call: Call, flavor: Flavor) -> dict[str, Any]:
    """An item of GET /flavors."""
    view: dict[str, Any] = {"id": flavor.id, "name": flavor.id, "links": links(call, "flavors", flavor.id)}
    if call.version >= (2, 55):
        view["description"] = None
    return view


def full(call: Call, flavor: Flavor, *, extra_specs: bool) -> dict[str, Any]:
    """GET /flavors/{id}, and an item of GET /flavors/detail."""
    view = brief(call, flavor) | {
        "ram": flavor.memory_mib,
        "disk": 0,
        "swap": 0 if call.version >= (2, 75) else "",
        "OS-FLV-EXT-DATA:ephemeral": 0,
        "OS-FLV-DISABLED:disabled": False,
        "vcpus": flavor.vcpus,
        "os-flavor-access:is_public": True,
        "rxtx_factor": 1.0,
    }
    if extra_specs and call.version >= (2, 61):
        view["extra_specs"] = {}
    return view


def in_server(call: Call, instance: Instance, *, extra_specs: bool) -> dict[str, Any]:
    """The flavor inside a server: a link before 2.47, its values since."""
    flavor = flavor_of(instance)
    if call.version < (2, 47):
        return {"id": flavor.id, "links": [{"rel": "bookmark", "href": bookmark(call, "flavors", flavor.id)}]}
    view: dict[str, Any] = {
        "vcpus": flavor.vcpus,
        "ram": flavor.memory_mib,
        "disk": root_gib(instance),
        "ephemeral": 0,
        "swap": 0,
        "original_name": flavor.id,
    }
    if extra_specs:
        view["extra_specs"] = {}
    return view
