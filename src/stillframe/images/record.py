"""ID.json, which says that an image is published.

One flat object: the fields of model.Image by their names (times as ISO 8601 in UTC, sizes in bytes, min_disk in GiB,
min_ram in MiB, properties as an object of strings) and "file", the name of the file beside it that holds the bytes;
null where a location tells where they are. No absolute path is in it, so the directory can be moved.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace

from cattrs import BaseValidationError

from stillframe import records
from stillframe.errors.request import ImageNotFound
from stillframe.model import UUID, Image

FORMAT = re.compile(r"[a-z0-9]{1,16}")
RESERVED = frozenset({"json", "part", "gone"})  # endings that have a meaning of their own


class RecordError(ValueError):
    """The file is not a record of the image that it is named after."""


def dumps(image: Image) -> str:
    """The record of a published image; its format must be known."""
    name = data_name(image)
    data = records.dump(replace(image, status="active")) | {"file": None if image.location else name}
    return json.dumps(data, indent=2) + "\n"


def loads(text: bytes, image_id: str) -> Image:
    """The image of a record that is named after `image_id`; raises RecordError."""
    try:
        image = records.load(Image, json.loads(text))
        if image.id != image_id:
            raise RecordError(f"it is the record of image {image.id}")
        data_name(image)
    except (ValueError, BaseValidationError) as error:
        raise RecordError(f"it cannot be read as a record: {error}") from error
    return image


def data_name(image: Image) -> str:
    """The name of the file that holds the image's bytes; raises ValueError for a format that cannot end one."""
    ending = image.disk_format or ""
    if not FORMAT.fullmatch(ending) or ending in RESERVED:
        raise ValueError(f"'{ending}' is no disk format")
    return f"{image.id}.{ending}"


def checked(image_id: str) -> str:
    """The id, proven to be a UUID as it is written in file names; raises ImageNotFound."""
    if not UUID.fullmatch(image_id):
        raise ImageNotFound(image=image_id)
    return image_id


def same(one: Image, other: Image) -> bool:
    """True when both are records of the same bytes, whenever they were written."""
    names = ("id", "disk_format", "size", "virtual_size", "sha256", "captured_at", "location")
    return all(getattr(one, name) == getattr(other, name) for name in names)
