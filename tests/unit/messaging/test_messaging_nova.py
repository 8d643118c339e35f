"""Notices against the fields of Nova 34 (nova/notifications: objects/instance.py, objects/flavor.py, base.py)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from stillframe.messaging import nova
from stillframe.messaging.notices import Event, Notice
from stillframe.model import Disk, Fault, Instance, Layer, PowerState, TaskState, VmState

AT = datetime(2026, 8, 1, 12, 30, 15, 250000, tzinfo=UTC)
INSTANCE = Instance(
    id="11111111-0000-4000-8000-000000000000",
    name="db",
    domain="instance-00000001",
    vm_state=VmState.ACTIVE,
    power_state=PowerState.RUNNING,
    disks=(Disk("vda", (Layer("/disks/db", "qcow2"),), size=(20 << 30) - 1),),
    root="vda",
    vcpus=2,
    memory_mib=4096,
    flavor="m1.small",
    project_id="blue",
    user_id="ann",
    base_image_id="base",
)
NOTICE = Notice(
    event=Event.START,
    at=AT,
    image_id="22222222-0000-4000-8000-000000000000",
    instance_id=INSTANCE.id,
    host="one",
    request_id="req-1",
    project_id="blue",
    user_id="bob",
    instance=INSTANCE,
    task_state=TaskState.IMAGE_SNAPSHOT_PENDING,
    created_at=AT,
    updated_at=AT,
)
INSTANCE_FIELDS = """
    uuid user_id tenant_id reservation_id display_name display_description host_name host node os_type architecture
    availability_zone flavor image_uuid key_name kernel_id ramdisk_id created_at launched_at terminated_at deleted_at
    updated_at state power_state task_state progress ip_addresses block_devices metadata locked auto_disk_config
    request_id action_initiator_user action_initiator_project fault snapshot_image_id
"""
FLAVOR_FIELDS = """
    flavorid memory_mb vcpus root_gb ephemeral_gb name swap rxtx_factor vcpu_weight disabled is_public extra_specs
    projects description
"""
OLD_FIELDS = """
    tenant_id user_id instance_id display_name reservation_id hostname instance_type instance_type_id
    instance_flavor_id architecture memory_mb disk_gb vcpus root_gb ephemeral_gb host node availability_zone cell_name
    created_at terminated_at deleted_at launched_at image_ref_url os_type kernel_id ramdisk_id state state_description
    progress access_ip_v4 access_ip_v6 image_meta metadata
"""


def test_the_versioned_payload_has_all_fields_of_novas_and_no_other() -> None:
    payload = nova.versioned(NOTICE)
    named = [payload[f"nova_object.{key}"] for key in ("name", "namespace", "version")]
    assert named == ["InstanceActionSnapshotPayload", "nova", "1.9"]
    data = payload["nova_object.data"]
    assert set(data) == set(INSTANCE_FIELDS.split())
    assert set(data["flavor"]["nova_object.data"]) == set(FLAVOR_FIELDS.split())
    told = {
        "uuid": INSTANCE.id,
        "snapshot_image_id": NOTICE.image_id,
        "tenant_id": "blue",
        "user_id": "ann",
        "action_initiator_user": "bob",
        "request_id": "req-1",
        "host": "one",
        "state": "active",
        "power_state": "running",
        "task_state": "image_snapshot_pending",
        "created_at": "2026-08-01T12:30:15Z",
        "fault": None,
    }
    assert {key: data[key] for key in told} == told
    assert data["flavor"]["nova_object.data"]["root_gb"] == 20


def test_the_older_payload_has_all_fields_of_novas_and_no_other() -> None:
    payload = nova.unversioned(NOTICE)
    assert set(payload) == set(OLD_FIELDS.split())
    assert (payload["state"], payload["state_description"]) == ("active", "image_snapshot_pending")
    assert (payload["memory_mb"], payload["vcpus"], payload["disk_gb"]) == (4096, 2, 20)


def test_an_error_tells_what_the_public_may_read() -> None:
    fault = Fault("no-space", "The store has too little room.", "Free some.", "/var/lib/secret", 507)
    told = nova.versioned(replace(NOTICE, event=Event.ERROR, fault=fault))
    data = told["nova_object.data"]["fault"]["nova_object.data"]
    assert (data["exception"], data["exception_message"]) == ("no-space", "The store has too little room.")
    assert "/var/lib/secret" not in str(told)


@pytest.mark.parametrize("payload", [nova.versioned, nova.unversioned])
def test_a_deleted_instance_is_told_with_what_is_still_known(payload: object) -> None:
    gone = replace(NOTICE, instance=None, task_state=None, created_at=None, updated_at=None)
    told = str(payload(gone))  # type: ignore[operator]
    assert INSTANCE.id in told
    assert "blue" in told
