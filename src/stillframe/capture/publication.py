"""From results to images that everybody sees: after commit, and only then."""

from __future__ import annotations

import logging
from dataclasses import replace

from stillframe import failpoints
from stillframe.capture.held import Hold
from stillframe.capture.work import Work
from stillframe.config import GIB
from stillframe.errors.base import StillframeError
from stillframe.errors.capture import WayClosed
from stillframe.errors.glance import ImageIncomplete, LocationRefused
from stillframe.model import Image, ImageRequest, ImageResult, Instant, now

LOG = logging.getLogger(__name__)

# What the store keeps as fields of their own, in GiB and MiB; the request carries them among the properties.
MIN_DISK, MIN_RAM = "min_disk", "min_ram"


def attested(request: ImageRequest, result: ImageResult, hold: Hold) -> ImageResult:
    """The result with all properties of the image: those asked for, and those that Stillframe vouches for."""
    return replace(
        result, properties={**request.properties, **result.properties, **attestation(hold.source, hold.instant)}
    )


def publish(work: Work, hold: Hold, results: tuple[ImageResult, ...]) -> None:
    """Makes all images of the capture visible, one after another. Doing it again after a crash is fine.

    Raises WayClosed where the store does not take the location of the first: another transfer may do. When it refuses
    a later one, the first is an image already and takes no other data: that refusal is the end.
    """
    for number, (wanted, result) in enumerate(zip(work.subject.wanted, results, strict=True)):
        with failpoints.around("image.publish"):
            try:
                _publish(work, image_of(wanted.image, result, hold.instant))
            except StillframeError as error:
                if number or error.fault.code != LocationRefused.code:
                    raise
                reason, operator = error.fault.message.rstrip("."), error.fault.operator or error.fault.hint
                raise WayClosed(way="location", reason=reason, operator=operator) from error


def _publish(work: Work, image: Image) -> None:
    """Whether the last bytes of an upload arrived is the store's to say: an answer may be lost."""
    lost = work.uploads.complete(image.id)
    try:
        work.tools.store.publish(image)
    except ImageIncomplete as error:
        raise lost or error from error


def withdraw(work: Work, hold: Hold, results: tuple[ImageResult, ...]) -> None:
    """After a failed publication: none of its images stays visible, and none that is not ours is touched.

    Never raises: the failure is on its way.
    """
    for wanted, result in zip(work.subject.wanted, results, strict=True):
        try:
            work.tools.store.withdraw(image_of(wanted.image, result, hold.instant))
        except StillframeError as error:
            LOG.warning("capture %s: image %s could not be withdrawn: %s", work.capture_id, result.id, error)


def attestation(source: str, instant: Instant) -> dict[str, str]:
    """What Stillframe vouches for, as properties."""
    found = {
        "stillframe_consistency": instant.consistency.value,
        "stillframe_captured_at": instant.captured_at.isoformat(),
        "stillframe_source": source,
    }
    if instant.frozen_ms is not None:
        found["stillframe_frozen_ms"] = str(instant.frozen_ms)
    return found


def min_disk(request: ImageRequest, size: int) -> int:
    """In GiB: what was asked for, but not less than the disk."""
    return max(int(request.properties.get(MIN_DISK, 0)), -(-size // GIB))


def image_of(request: ImageRequest, result: ImageResult, instant: Instant) -> Image:
    """The image as it is to be; `result` has all its properties (see attested)."""
    properties = {name: value for name, value in result.properties.items() if name != MIN_DISK}
    moment = now()
    return Image(
        id=result.id,
        name=request.name,
        status="active",
        created_at=moment,
        updated_at=moment,
        owner=properties.get("owner_id"),
        disk_format=result.disk_format,
        container_format="bare",
        size=result.size,
        virtual_size=result.virtual_size,
        sha256=result.sha256,
        hashes=result.hashes,
        min_disk=min_disk(request, result.virtual_size),
        min_ram=int(properties.pop(MIN_RAM, 0)),
        properties=properties,
        captured_at=instant.captured_at,
        location=result.location,
        place=result.place,
        parent=result.parent,
    )
