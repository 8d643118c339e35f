"""The properties of an image that is asked for: inherited, asked for, and our own, in that order of weight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from oslo_utils.strutils import bool_from_string

from stillframe.api.views.common import whole
from stillframe.api.views.images import ATTRIBUTES
from stillframe.config import GIB
from stillframe.errors.request import BadRequest, QuotaExceeded
from stillframe.model import Disk, Instance

ATTESTED = ("stillframe_", "md5sum", "instance_owner")  # the last one shares an image with a project
NEVER_INHERITED = (
    "stillframe_",
    "md5sum",
    "cinder_encryption_key_id",
    "cinder_encryption_key_deletion_policy",
    "img_signature",
    "os_glance",
    "instance_owner",
    "owner_id",
    "base_image_ref",
    "backup_type",
    *("block_device_mapping", "mappings", "bdm_v2", "root_device_name"),  # of the volumes of another server
)
FIELDS = ("min_disk", "min_ram")  # attributes that travel among the properties
REQUIRE_QUIESCE = "os_require_quiesce"


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Raises BadRequest for names that Stillframe attests and names of an image's own attributes."""
    for name in metadata:
        if name.startswith(ATTESTED):
            raise BadRequest(reason=f"Invalid input for field/attribute metadata. Value: {name}. Stillframe sets it.")
        if name in ATTRIBUTES:
            raise BadRequest(
                reason=f"Invalid input for field/attribute metadata. Value: {name}. It is an attribute of every image."
            )


def check_quota(metadata: Mapping[str, str], limit: int) -> None:
    """Before 2.39 only; raises QuotaExceeded."""
    if len(metadata) > limit:
        raise QuotaExceeded(what="Image metadata", given=len(metadata), limit=limit)


def requires_quiesce(properties: Mapping[str, str]) -> bool:
    """os_require_quiesce, as Nova reads it."""
    return bool(bool_from_string(properties.get(REQUIRE_QUIESCE, "no")))


def inherited(base: Mapping[str, str], not_inherited: Iterable[str]) -> dict[str, str]:
    """What an image takes over from the base image; `not_inherited` are names or beginnings of names."""
    left_out = (*NEVER_INHERITED, *not_inherited)
    return {
        name: value
        for name, value in base.items()
        if (name not in ATTRIBUTES or name in FIELDS) and not name.startswith(left_out)
    }


def of_image(
    instance: Instance,
    disk: Disk | None,
    *,
    user_id: str,
    owner: str | None,
    kind: str,
    metadata: Mapping[str, str],
    base: Mapping[str, str],
) -> dict[str, str]:
    """All properties of one image. Who captured what is ours to say: neither base image nor metadata overrides it.

    `owner_id` is the image's owner; another project's image is shared with `instance_owner`, the instance's project.
    `min_disk` (GiB) and `min_ram` (MiB) travel as properties and become the image's attributes.
    """
    properties = dict(base) | {"image_type": kind} | dict(metadata)
    properties |= {
        "instance_uuid": instance.id,
        "user_id": user_id,
        "image_location": "snapshot",
        "image_state": "available",
    }
    if instance.base_image_id is not None:
        properties["base_image_ref"] = instance.base_image_id
    if owner is not None:
        properties["owner_id"] = owner
        if owner != instance.project_id and instance.project_id is not None:
            properties["instance_owner"] = instance.project_id
    needed = max(-(-disk.size // GIB) if disk else 0, whole(base.get("min_disk")))
    if needed:
        properties["min_disk"] = str(needed)
    return properties
