"""Notices as Nova would send them: the versioned payload of a snapshot, and the older one of `compute.instance`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from stillframe.config import GIB
from stillframe.messaging.notices import Notice
from stillframe.model import Fault, Instance, PowerState

Payload = dict[str, Any]

_POWER = {
    PowerState.NOSTATE: "pending",
    PowerState.RUNNING: "running",
    PowerState.PAUSED: "paused",
    PowerState.SHUTDOWN: "shutdown",
    PowerState.CRASHED: "crashed",
    PowerState.SUSPENDED: "suspended",
}


def versioned(notice: Notice) -> Payload:
    """InstanceActionSnapshotPayload 1.9. What only Nova knows (keys, addresses, reservations) is null or empty."""
    of = notice.instance
    known: Payload = {
        "state": None,
        "power_state": None,
        "display_name": None,
        "image_uuid": None,
        "flavor": None,
    }
    if of is not None:
        known = {
            "state": of.vm_state.value,
            "power_state": _POWER[of.power_state],
            "display_name": of.name,
            "image_uuid": of.base_image_id or "",
            "flavor": _flavor(of),
        }
    return _object(
        "InstanceActionSnapshotPayload",
        "1.9",
        {
            **_nobody_knows(),
            **known,
            "uuid": notice.instance_id,
            "user_id": None if of is None else of.user_id,
            "tenant_id": notice.project_id,
            "host": notice.host,
            "node": notice.host,
            "task_state": notice.task_state,
            "created_at": _time(notice.created_at),
            "launched_at": _time(notice.created_at),
            "updated_at": _time(notice.updated_at),
            "request_id": notice.request_id,
            "action_initiator_user": notice.user_id,
            "action_initiator_project": notice.project_id,
            "snapshot_image_id": notice.image_id,
            "fault": None if notice.fault is None else _fault(notice.fault),
        },
    )


def unversioned(notice: Notice) -> Payload:
    """The payload of `compute.instance.snapshot.start` and `.end`."""
    of = notice.instance
    root = 0 if of is None else _root_gib(of)
    return {
        "tenant_id": notice.project_id,
        "user_id": None if of is None else of.user_id,
        "instance_id": notice.instance_id,
        "display_name": None if of is None else of.name,
        "reservation_id": None,
        "hostname": None if of is None else of.domain,
        "instance_type": None if of is None else of.flavor,
        "instance_type_id": None,
        "instance_flavor_id": None,
        "architecture": None,
        "memory_mb": None if of is None else of.memory_mib,
        "vcpus": None if of is None else of.vcpus,
        "disk_gb": root,
        "root_gb": root,
        "ephemeral_gb": 0,
        "host": notice.host,
        "node": notice.host,
        "availability_zone": None,
        "cell_name": "",
        "created_at": "" if notice.created_at is None else str(notice.created_at),
        "launched_at": _time(notice.created_at) or "",
        "terminated_at": "",
        "deleted_at": "",
        "image_ref_url": None if of is None else of.base_image_id,
        "os_type": None,
        "kernel_id": "",
        "ramdisk_id": "",
        "state": None if of is None else of.vm_state.value,
        "state_description": notice.task_state or "",
        "progress": "",
        "access_ip_v4": None,
        "access_ip_v6": None,
        "image_meta": {} if of is None or of.base_image_id is None else {"base_image_ref": of.base_image_id},
        "metadata": {},
    }


def _nobody_knows() -> Payload:
    """The fields that no hypervisor can tell."""
    unknown = (
        "reservation_id",
        "display_description",
        "host_name",
        "os_type",
        "architecture",
        "availability_zone",
        "key_name",
        "terminated_at",
        "deleted_at",
    )
    return {
        **dict.fromkeys(unknown),
        "kernel_id": "",
        "ramdisk_id": "",
        "progress": 0,
        "ip_addresses": [],
        "block_devices": [],
        "metadata": {},
        "locked": False,
        "auto_disk_config": "MANUAL",
    }


def _flavor(of: Instance) -> Payload:
    return _object(
        "FlavorPayload",
        "1.4",
        {
            "flavorid": None,
            "name": of.flavor,
            "vcpus": of.vcpus,
            "memory_mb": of.memory_mib,
            "root_gb": _root_gib(of),
            "ephemeral_gb": 0,
            "swap": 0,
            "disabled": False,
            "is_public": True,
            "rxtx_factor": 1.0,
            "vcpu_weight": 0,
            "projects": None,
            "extra_specs": {},
            "description": None,
        },
    )


def _fault(fault: Fault) -> Payload:
    return _object(
        "ExceptionPayload",
        "1.1",
        {
            "module_name": "stillframe",
            "function_name": "capture",
            "exception": fault.code,
            "exception_message": fault.message,  # the public part only: anybody may listen
            "traceback": None,
        },
    )


def _object(name: str, version: str, data: Payload) -> Payload:
    return {
        "nova_object.name": name,
        "nova_object.namespace": "nova",
        "nova_object.version": version,
        "nova_object.data": data,
    }


def _root_gib(of: Instance) -> int:
    disk = of.disk(of.root) if of.root else None
    return 0 if disk is None else -(-disk.size // GIB)


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.strftime("%Y-%m-%dT%H:%M:%SZ")
