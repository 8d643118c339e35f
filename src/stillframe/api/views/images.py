"""Images as Glance v2 shows them: properties beside the attributes, which no property can hide."""

from __future__ import annotations

from typing import Any

from stillframe.api.views.common import seconds, whole
from stillframe.model import Image

HASH = "sha256"
View = dict[str, Any]

ATTRIBUTES: dict[str, dict[str, Any]] = {
    "id": {"type": "string", "description": "An identifier for the image"},
    "name": {"type": ["null", "string"], "description": "The image's name", "maxLength": 255},
    "status": {"type": "string", "description": "How far the image is", "enum": ["queued", "saving", "active"]},
    "visibility": {
        "type": "string",
        "description": "Who may use the image",
        "enum": ["community", "public", "private", "shared"],
    },
    "protected": {"type": "boolean", "description": "Whether the image is kept from deletion"},
    "os_hidden": {"type": "boolean", "description": "Whether lists leave the image out"},
    "checksum": {"type": ["null", "string"], "description": "Not computed: see os_hash_value", "maxLength": 32},
    "os_hash_algo": {"type": ["null", "string"], "description": "Algorithm of os_hash_value", "maxLength": 64},
    "os_hash_value": {"type": ["null", "string"], "description": "Hash of the file, in hex", "maxLength": 128},
    "owner": {"type": ["null", "string"], "description": "The project that owns the image", "maxLength": 255},
    "size": {"type": ["null", "integer"], "description": "Size of the file in bytes"},
    "virtual_size": {"type": ["null", "integer"], "description": "Size of the disk inside in bytes"},
    "container_format": {"type": ["null", "string"], "description": "Format of the container", "enum": [None, "bare"]},
    "disk_format": {"type": ["null", "string"], "description": "Format of the disk", "enum": [None, "raw", "qcow2"]},
    "created_at": {"type": "string", "description": "When the image was registered"},
    "updated_at": {"type": "string", "description": "When the image last changed"},
    "tags": {"type": "array", "description": "Labels", "items": {"type": "string", "maxLength": 255}},
    "min_ram": {"type": "integer", "description": "Memory that a server of it needs, in MiB"},
    "min_disk": {"type": "integer", "description": "Disk that a server of it needs, in GiB"},
    "self": {"type": "string", "description": "The image's path"},
    "file": {"type": "string", "description": "The path of the image's file"},
    "schema": {"type": "string", "description": "The path of this schema"},
}
_READ_ONLY = frozenset(
    (
        *("status", "checksum", "os_hash_algo", "os_hash_value", "size", "virtual_size", "created_at", "updated_at"),
        *("self", "file", "schema"),
    )
)


def full(image: Image) -> View:
    """GET /v2/images/{id}, and an item of the list."""
    path = f"/v2/images/{image.id}"
    return dict(image.properties) | {
        "id": image.id,
        "name": image.name,
        "status": image.status,
        "visibility": image.visibility,
        "protected": False,
        "os_hidden": False,
        "checksum": None,
        "os_hash_algo": HASH if image.sha256 else None,
        "os_hash_value": image.sha256,
        "owner": image.owner,
        "size": image.size,
        "virtual_size": image.virtual_size,
        "container_format": image.container_format,
        "disk_format": image.disk_format,
        "created_at": seconds(image.created_at),
        "updated_at": seconds(image.updated_at),
        "tags": [],
        "min_ram": max(image.min_ram, whole(image.properties.get("min_ram"))),
        "min_disk": max(image.min_disk, whole(image.properties.get("min_disk"))),
        "self": path,
        "file": f"{path}/file",
        "schema": "/v2/schemas/image",
    }


def schema() -> dict[str, Any]:
    """GET /v2/schemas/image."""
    properties = {
        name: described | {"readOnly": True} if name in _READ_ONLY else described
        for name, described in ATTRIBUTES.items()
    }
    return {
        "name": "image",
        "properties": properties,
        "additionalProperties": {"type": "string"},
        "links": [
            {"rel": "self", "href": "{self}"},
            {"rel": "enclosure", "href": "{file}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


def list_schema() -> dict[str, Any]:
    """GET /v2/schemas/images."""
    path = {"type": "string"}
    return {
        "name": "images",
        "properties": {
            "images": {"type": "array", "items": schema()},
            "first": path,
            "next": path,
            "schema": path,
        },
        "links": [
            {"rel": "first", "href": "{first}"},
            {"rel": "next", "href": "{next}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }
