"""Where images go in Glance: which of its stores, and those on RBD that it is told of by their location."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from stillframe.errors.base import StillframeError
from stillframe.errors.glance import ImageDiffers, ImageForbidden, ImageRefused, LocationRefused, NoStoreInGlance
from stillframe.images.glance import Glance, Record
from stillframe.model import Image

IN_HAND = "os_glance_import_task"  # the property of an image that Glance is at by itself
TASK = "location_import"  # what Glance does about a location after its answer
Pool = tuple[str, str]  # fsid of a cluster, and a pool of it


class Locations:
    """As whoever may do all of it: an administrator with the role `service`. Any number of threads."""

    def __init__(self, glance: Glance) -> None:
        self._glance = glance
        self._stores: Mapping[Pool, str] = {}

    def expect_store(self, fsid: str, pool: str) -> None:
        """Images in this pool can be Glance's by their location; raises NoStoreInGlance, or what Glance says."""
        if (fsid, pool) not in self._stores:  # Glance may have been given one since
            self._stores = rbd_stores(self._glance.stores())
        if (fsid, pool) not in self._stores:
            others = [f"{name} (pool {other})" for (_, other), name in sorted(self._stores.items())]
            raise NoStoreInGlance(pool=pool, fsid=fsid, stores=", ".join(others) or "none that it tells of")

    def preferred(self, wanted: Sequence[str]) -> str | None:
        """The first of these stores that Glance has; the very first where it has none of them, or but one to choose."""
        there = self._glance.store_names() if len(wanted) > 1 else set()
        return next((name for name in wanted if name in there), next(iter(wanted), None))

    def publish(self, image: Image, shown: Record, described: Record) -> str:
        """The state of its record, `shown` a moment ago, once the location is on its way.

        `described`: what the record is to say of the data. Raises LocationRefused, ImageDiffers, ImageNotFound.
        """
        if shown["status"] == "queued" and IN_HAND not in shown:
            self._expect_not_failed(image.id)
            self._glance.update(image.id, described)
            self._register(image, shown)
            shown = self._glance.get(image.id)
        if shown["status"] == "active":
            self._compare(image, shown)
        return "importing" if shown["status"] == "queued" else str(shown["status"])

    def _register(self, image: Image, shown: Record) -> None:
        """By the location API, or the older way where that is open. Several may do so at once."""
        url = str(image.location)
        try:
            self._glance.add_location(image.id, url)
        except (ImageForbidden, ImageRefused) as error:
            if self._begun(image.id):
                return
            if "locations" not in shown:  # Glance shows them only where it takes them, too
                raise _refused(image, error) from error
            self._set(image, url)

    def _set(self, image: Image, url: str) -> None:
        try:
            self._glance.set_location(image.id, url)
        except (ImageForbidden, ImageRefused) as error:
            if not self._begun(image.id):
                raise _refused(image, error) from error

    def _begun(self, image_id: str) -> bool:
        """Whether the same was asked for before, by who got no answer in time."""
        shown = self._glance.get(image_id)
        return shown["status"] != "queued" or IN_HAND in shown

    def _expect_not_failed(self, image_id: str) -> None:
        """Glance may accept a location, and put the image back to `queued` when it cannot use it."""
        try:
            tasks = self._glance.tasks(image_id)
        except (ImageForbidden, ImageRefused):
            return  # an older one, which tells none
        failed = [task for task in tasks if task["type"] == TASK and task["status"] == "failure"]
        if failed:
            raise LocationRefused(image=image_id, reason="it could not use it", operator=failed[-1]["message"] or "")

    def _compare(self, image: Image, shown: Record) -> None:
        """The record may have been given other data meanwhile, by its owner."""
        if shown["size"] != image.size:
            raise ImageDiffers(image=image.id, algorithm="size", found=shown["size"], expected=image.size)
        told = shown.get("locations")
        try:
            found = self._glance.locations(image.id) if told is None else [each["url"] for each in told]
        except (ImageForbidden, ImageRefused):
            return
        if image.location not in found:
            operator = f"{', '.join(found)} instead of {image.location}"
            raise ImageDiffers(
                image=image.id, algorithm="location", found="another one", expected="ours", operator=operator
            )


def rbd_stores(stores: Iterable[Record]) -> dict[Pool, str]:
    """The names of Glance's stores on RBD, by where they are; those whose cluster Glance does not know are left out."""
    found = {}
    for store in stores:
        properties = store.get("properties", {})
        if store.get("type") == "rbd" and properties.get("fsid") and properties.get("pool"):
            found[str(properties["fsid"]), str(properties["pool"])] = str(store["id"])
    return found


def _refused(image: Image, error: StillframeError) -> LocationRefused:
    return LocationRefused(image=image.id, reason=error.fault.message.rstrip("."))
