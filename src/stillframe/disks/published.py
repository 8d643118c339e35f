"""Removing what the location of a published image names."""

from __future__ import annotations

from urllib.parse import urlsplit

from stillframe.disks.ceph import SNAP, Ceph, OnRbd
from stillframe.disks.rbd import images, snapshots
from stillframe.errors.ceph import RbdInUse
from stillframe.errors.request import ImageNotFound
from stillframe.errors.service import ImageInUse
from stillframe.model import Image


class RbdBacking:
    """images.locations.Backing for images on RBD."""

    def __init__(self, ceph: Ceph) -> None:
        self._ceph = ceph
        # whoever deletes an image waits for it; a large one is removed on in the background, and looked for again
        self._timeout = ceph.options.timeout

    def expect(self, image: Image) -> None:
        """Raises ImageNotFound when the image is not in its cluster, or what keeps us from looking."""
        if image.place is None or image.location is None:
            return
        found = self._ceph.at(image.place, urlsplit(image.location).netloc)
        if not images.exists(found.cluster, found.image, timeout=self._timeout):
            raise ImageNotFound(image=image.id, operator=image.location)

    def remove(self, image: Image) -> None:
        """Removes the image, then the snapshot of the disk that it was tied to. Raises what stands against it."""
        if image.place is None or image.location is None:
            return
        fsid = urlsplit(image.location).netloc
        found = self._ceph.at(image.place, fsid)
        self._refuse_in_use(image, found)
        try:
            images.remove(found.cluster, found.image, image.id, timeout=self._timeout)
        except RbdInUse:
            self._refuse_in_use(image, found)  # cloned just now
            raise
        if image.parent is not None:
            disk = self._ceph.at(image.parent, fsid)
            snapshots.remove(disk.cluster, disk.image, disk.snap, timeout=self._timeout)

    def _refuse_in_use(self, image: Image, found: OnRbd) -> None:
        clones = snapshots.children(found.cluster, found.image, SNAP, timeout=self._timeout)
        if clones:
            raise ImageInUse(image=image.id, count=len(clones), operator=", ".join(map(str, clones)))
