"""What a capture holds on Ceph and must give back: see leases.py.

An operation that missed its deadline may still come about. Its lease is taken again with `doubtful_until`, a time of
the wall clock up to which giving back is repeated.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from stillframe.capture.tools import Tools
from stillframe.disks.ceph import SNAP
from stillframe.disks.rbd import images, snapshots
from stillframe.errors.ceph import BeingGivenBack, RbdInUse
from stillframe.model import RbdPlace

UNTIL_FLAT = "It goes once what was cloned from it is flat."
DOUBT = 180.0  # seconds that an operation without an answer is given to come about: longer than librados tries it


@dataclass(frozen=True, slots=True)
class DiskSnapshot:
    """A snapshot of an instance's disk; the image's id in its name proves that it is ours."""

    place: RbdPlace  # with the snapshot
    fsid: str
    kept_for: str | None = None  # the image that stays tied to it, once it is published
    doubtful_until: float = 0.0

    def release(self, tools: Tools) -> None:
        """Removes it, unless an image needs it for good."""
        if self.kept_for and tools.store.published(self.kept_for):
            return
        found = tools.ceph.at(self.place, self.fsid)
        seconds = tools.ceph.options.timeout  # the end of the capture waits for it; it is tried again
        try:
            if snapshots.exists(found.cluster, found.image, found.snap, timeout=seconds):  # also who may only read
                snapshots.remove(found.cluster, found.image, found.snap, timeout=seconds)
            else:
                snapshots.remove_in_trash(found.cluster, found.image, found.snap, timeout=seconds)
        except RbdInUse as error:
            raise BeingGivenBack(how=UNTIL_FLAT) from error
        _wait_out(self.doubtful_until)

    def __str__(self) -> str:
        return f"snapshot {self.place}"


@dataclass(frozen=True, slots=True)
class HalfRbdImage:
    """An image on RBD that is not published; the image's id in its metadata proves that it is ours."""

    place: RbdPlace
    fsid: str
    image_id: str
    doubtful_until: float = 0.0

    def release(self, tools: Tools) -> None:
        """Removes it with its snapshot; a published image stays."""
        if tools.store.published(self.image_id):
            return
        found = tools.ceph.at(self.place, self.fsid)
        images.remove(found.cluster, found.image, self.image_id, timeout=tools.ceph.options.timeout)
        _wait_out(self.doubtful_until)

    def __str__(self) -> str:
        return f"half-made image {self.place}"


@dataclass(frozen=True, slots=True)
class ParentLink:
    """A published image that still shares the blocks of the disk that it was cloned from."""

    place: RbdPlace
    fsid: str
    image_id: str

    def release(self, tools: Tools) -> None:
        """Has it made flat in the background, which is not waited for; an image that is deleted needs it no more.

        Glance removes an image's snapshot before it finds that the image is open: it can go on when asked again.
        """
        if not tools.store.published(self.image_id):
            tools.flattening.end(self.place, self.fsid)
            return
        found, seconds = tools.ceph.at(self.place, self.fsid), tools.ceph.options.timeout
        if snapshots.exists(found.cluster, found.image, SNAP, timeout=seconds):
            tools.flattening.expect_flat(self.place, self.fsid)
            return
        tools.flattening.end(self.place, self.fsid)
        if images.exists(found.cluster, found.image, timeout=seconds):
            raise BeingGivenBack(how="Its snapshot is gone: the image is being deleted, and not made flat any more.")

    def __str__(self) -> str:
        return f"image {self.place}"


def _wait_out(doubtful_until: float) -> None:
    left = doubtful_until - time.time()
    if left > 0:
        raise BeingGivenBack(how=f"What had no answer may still come about: looked at again for {left:.0f} seconds.")
