"""Images in Glance, for agents and for what runs by itself: whoever may see, change and delete all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from stillframe.controller import decisions, volumesets
from stillframe.controller.database import Database
from stillframe.controller.locations import Locations
from stillframe.controller.schema import AnyRow
from stillframe.errors.capture import Superseded
from stillframe.errors.glance import ImageDeleted, ImageDiffers
from stillframe.errors.request import ImageNotFound
from stillframe.images.glance import LISTED, Glance, Record
from stillframe.model import CaptureStatus, Image, Ticket

ACTIVE = "active"
FINISHED = (ACTIVE, "deactivated")  # an administrator takes one out of use for a while
ATTESTED = ("stillframe_", "md5sum")  # how properties begin that are told with the data
USUAL_ALGORITHM = "sha512"  # Glance's own default, where no image tells


class ImageDesk:
    """ImagesApi, and the shelf of rotation and reservations; any number of threads."""

    def __init__(self, db: Database, glance: Glance, stores: Sequence[str]) -> None:
        """`glance` as the service user; `stores`: [glance] backends."""
        self._db = db
        self._glance = glance
        self._stores = tuple(stores)
        self._locations = Locations(glance)
        self._algorithm: str | None = None

    # -------------------------------------------------------------------------------------------- asked by agents

    def open_upload(self, capture_id: str, attempt: str, image: Image) -> Ticket:
        """See ImagesApi."""
        stores, named = self._db.read(_wanted, capture_id, attempt, image.id)
        shown = self._shown(image.id)
        if shown["status"] == "queued":
            wanted = _described(image) | named
            missing = {name: value for name, value in wanted.items() if shown.get(name) != value}
            if missing:
                self._glance.update(image.id, missing)
        return Ticket(shown["status"], self._expected_algorithm(), self._locations.preferred(stores or self._stores))

    def expect_location(self, fsid: str, pool: str) -> None:
        """See ImagesApi."""
        self._locations.expect_store(fsid, pool)

    def publish_image(self, image: Image) -> str:
        """See ImagesApi."""
        self._db.read(_expect_publishing, image.id)
        shown = self._shown(image.id)
        if image.location is not None:
            return self._located(image, shown)
        if shown["status"] == ACTIVE:
            self._compare(image, shown)
        return str(shown["status"])

    def image_published(self, image_id: str) -> bool:
        """See ImagesApi."""
        return self.finished(image_id)

    # --------------------------------------------------------------------------------------------------- the shelf

    def present(self, image_ids: Sequence[str]) -> set[str]:
        """Those that are there, with or without their data."""
        some = (image_ids[start : start + LISTED] for start in range(0, len(image_ids), LISTED))
        return {image_id for ids in some for image_id in self._glance.present(ids)}

    def finished(self, image_id: str) -> bool:
        """Whether it is there with its data."""
        try:
            return self._glance.get(image_id)["status"] in FINISHED
        except ImageNotFound:
            return False

    exists = finished  # as rotation asks

    def delete(self, image_id: str) -> None:
        """One that is gone is fine."""
        self._glance.delete(image_id)

    # ------------------------------------------------------------------------------------------------ small things

    def _shown(self, image_id: str) -> Record:
        try:
            return self._glance.get(image_id)
        except ImageNotFound as error:
            raise ImageDeleted(image=image_id) from error

    def _located(self, image: Image, shown: Record) -> str:
        try:
            return self._locations.publish(image, shown, _described(image))
        except ImageNotFound as error:
            raise ImageDeleted(image=image.id) from error

    def _expected_algorithm(self) -> str:
        """What Glance hashes with: told by the youngest image that it has, as nothing else tells."""
        if self._algorithm is None:
            newest = self._glance.newest() or {}
            self._algorithm = newest.get("os_hash_algo") or USUAL_ALGORITHM
        return self._algorithm

    def _compare(self, image: Image, shown: Record) -> None:
        """Glance's size and hash against ours; where it has changed its algorithm, it is the next image's too."""
        if shown["size"] != image.size:
            raise ImageDiffers(image=image.id, algorithm="size", found=shown["size"], expected=image.size)
        algorithm = shown["os_hash_algo"]
        expected = image.hashes.get(algorithm)
        if expected is None:
            self._algorithm = None
        elif shown["os_hash_value"] != expected:
            raise ImageDiffers(image=image.id, algorithm=algorithm, found=shown["os_hash_value"], expected=expected)


def _described(image: Image) -> dict[str, Any]:
    """What the record says of the data that come."""
    fields = {"disk_format": image.disk_format, "container_format": image.container_format, "min_disk": image.min_disk}
    attested = {name: value for name, value in image.properties.items() if name.startswith(ATTESTED)}
    return {**attested, **fields}


def _wanted(
    connection: Connection, capture_id: str, attempt: str, image_id: str
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The stores that were named for the image, and what it says of Cinder's snapshots. Raises Superseded.

    Also of an attempt that may publish already: its agent may have died before it had sent all.
    """
    row = decisions.row_of(connection, capture_id)
    wanted = (CaptureStatus.RUNNING, CaptureStatus.PUBLISHING)
    if row is None or row.token != attempt or row.status not in wanted or row.cancel is not None:
        raise Superseded(reason="another one was begun, or the capture is to stop")
    stores = next((image.stores for image in row.images if image.id == image_id), ())
    return stores, volumesets.named(connection, capture_id)


def _expect_publishing(connection: Connection, image_id: str) -> None:
    row: AnyRow | None = decisions.making(connection, image_id)
    if row is None or row.status != CaptureStatus.PUBLISHING:
        raise Superseded(reason="the capture is not being published")
