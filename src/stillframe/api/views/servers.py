"""Servers, field by field as Nova shows them at each microversion. What a hypervisor cannot know is empty."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stillframe.api.call import Call
from stillframe.api.views import flavors
from stillframe.api.views.common import bookmark, host_id, links, seconds
from stillframe.model import Disk, Instance, Server, VmState

STATUS = {
    VmState.ACTIVE: "ACTIVE",
    VmState.STOPPED: "SHUTOFF",
    VmState.PAUSED: "PAUSED",
    VmState.SUSPENDED: "SUSPENDED",
    VmState.ERROR: "ERROR",
}


@dataclass(frozen=True, slots=True)
class Sight:
    """What the caller may see of a server, decided once for a whole list."""

    extended: bool  # host, domain: os-extended-server-attributes
    extra_specs: bool
    host_status: Callable[[str], str] | None  # of a host; None: not shown


def brief(call: Call, server: Server) -> dict[str, Any]:
    """An item of GET /servers."""
    instance = server.instance
    return {"id": instance.id, "name": instance.name, "links": links(call, "servers", instance.id)}


def full(call: Call, server: Server, sight: Sight) -> dict[str, Any]:
    """An item of GET /servers/detail."""
    instance = server.instance
    view = _common(call, server)
    view["flavor"] = flavors.in_server(call, instance, extra_specs=sight.extra_specs)
    if instance.vm_state == VmState.ACTIVE:
        view["progress"] = 0
    if sight.extended:
        view |= _extended(call, server)
    if sight.host_status is not None and call.version >= (2, 16):
        view["host_status"] = sight.host_status(server.host)
    for since, fields in _ADDED:
        if call.version >= since:
            view |= fields
    if call.version >= (2, 90):
        view["OS-EXT-SRV-ATTR:hostname"] = _hostname(instance)
    return view


def shown(call: Call, server: Server, sight: Sight) -> dict[str, Any]:
    """GET /servers/{id}, which has more fields than the list; one of them Nova does not know."""
    view = full(call, server, sight)
    view["stillframe:disks"] = [_disk(server.instance, disk) for disk in server.instance.disks]
    if call.version >= (2, 71):
        view["server_groups"] = []
    return view


_ADDED: tuple[tuple[tuple[int, int], dict[str, Any]], ...] = (
    ((2, 9), {"locked": False}),
    ((2, 19), {"description": None}),
    ((2, 26), {"tags": []}),
    ((2, 63), {"trusted_image_certificates": None}),
    ((2, 73), {"locked_reason": None}),
    ((2, 96), {"pinned_availability_zone": None}),
    ((2, 100), {"scheduler_hints": {}}),
)


def _common(call: Call, server: Server) -> dict[str, Any]:
    instance = server.instance
    return {
        "id": instance.id,
        "name": instance.name,
        "status": STATUS[instance.vm_state],
        "tenant_id": instance.project_id or "",
        "user_id": instance.user_id or "",
        "metadata": {},
        "addresses": {},
        "accessIPv4": "",
        "accessIPv6": "",
        "image": _image(call, instance),
        "hostId": host_id(server.host, instance.project_id),
        "created": seconds(server.created_at),
        "updated": seconds(server.updated_at),
        "links": links(call, "servers", instance.id),
        "key_name": None,
        "config_drive": "",
        "OS-DCF:diskConfig": "MANUAL",
        "OS-EXT-AZ:availability_zone": "nova",
        "OS-SRV-USG:launched_at": None,
        "OS-SRV-USG:terminated_at": None,
        "OS-EXT-STS:task_state": server.task_state,
        "OS-EXT-STS:vm_state": instance.vm_state,
        "OS-EXT-STS:power_state": int(instance.power_state),
        "os-extended-volumes:volumes_attached": _volumes(call, instance),
    }


def _extended(call: Call, server: Server) -> dict[str, Any]:
    instance = server.instance
    view: dict[str, Any] = {
        "OS-EXT-SRV-ATTR:host": server.host,
        "OS-EXT-SRV-ATTR:instance_name": instance.domain,
        "OS-EXT-SRV-ATTR:hypervisor_hostname": server.host,
    }
    if call.version >= (2, 3):
        view |= {
            "OS-EXT-SRV-ATTR:hostname": _hostname(instance),
            "OS-EXT-SRV-ATTR:kernel_id": "",
            "OS-EXT-SRV-ATTR:launch_index": 0,
            "OS-EXT-SRV-ATTR:ramdisk_id": "",
            "OS-EXT-SRV-ATTR:reservation_id": "",
            "OS-EXT-SRV-ATTR:root_device_name": f"/dev/{instance.root}" if instance.root else None,
            "OS-EXT-SRV-ATTR:user_data": None,
        }
    return view


def _image(call: Call, instance: Instance) -> dict[str, Any] | str:
    """The base image; an empty string where none is known, as for a server that boots from a volume."""
    if instance.base_image_id is None:
        return ""
    view: dict[str, Any] = {
        "id": instance.base_image_id,
        "links": [{"rel": "bookmark", "href": bookmark(call, "images", instance.base_image_id)}],
    }
    if call.version >= (2, 98):
        view["properties"] = {}
    return view


def _volumes(call: Call, instance: Instance) -> list[dict[str, Any]]:
    if call.version < (2, 3):
        return [{"id": volume} for volume in instance.volumes]
    return [{"id": volume, "delete_on_termination": False} for volume in instance.volumes]


def _disk(instance: Instance, disk: Disk) -> dict[str, Any]:
    """What a capture may name (`disks`), and what its owner may know of it: no path of the host."""
    return {
        "target": disk.target,
        "root": disk.target == instance.root,
        "kind": disk.top.kind,
        "format": disk.top.format,
        "size": disk.size or None,
        "read_only": disk.read_only,
    }


def _hostname(instance: Instance) -> str:
    """What Nova would have made of the name: letters, digits, dots and dashes."""
    kept = "".join(char if char.isascii() and (char.isalnum() or char in ".-") else "-" for char in instance.name)
    return kept.strip(".-").lower() or "server"
