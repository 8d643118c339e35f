"""Images whose bytes are not in the store itself: what a store says to them, and what it needs for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from stillframe.errors.service import ImageElsewhere
from stillframe.model import Image


class LocationStore(Protocol):
    """A store that can publish an image by the location of its bytes."""

    def location_obstacle(self, fsid: str, pool: str) -> str | None:
        """Why it takes no location in this pool of this Ceph cluster, in words; None when it does."""

    def publish(self, image: Image) -> None:
        """Makes an image with a location visible; doing it again is fine."""

    def published(self, image_id: str) -> bool:
        """Whether everybody sees it."""


class Backing(Protocol):
    """Whoever has the bytes that a location names; disks/published.py has the real one."""

    def expect(self, image: Image) -> None:
        """Raises ImageNotFound when they are not there."""

    def remove(self, image: Image) -> None:
        """Removes them; fine when they are gone. Raises ImageInUse and leaves them while clones need them."""


class NoBacking:
    """For services that reach no cluster: what is elsewhere is left to the next `tidy` of one that does."""

    def expect(self, image: Image) -> None:
        """Raises ImageElsewhere."""
        raise ImageElsewhere(image=image.id)

    def remove(self, image: Image) -> None:
        """Raises ImageElsewhere."""
        raise ImageElsewhere(image=image.id)


def backends(volume: Mapping[str, str] | None, configured: Iterable[str]) -> tuple[str, ...]:
    """Names of the stores that an image is to go to, the preferred one first; none: the default store.

    `volume`: the `volume_image_metadata` of the root volume, whose `stores` say where its own image was; None when the
    root is a local disk, for which `configured` ([glance] backends) says it.
    """
    named = configured if volume is None else volume.get("stores", "").split(",")
    return tuple(dict.fromkeys(name for part in named if (name := part.strip())))
