"""What agents ask of a controller about images in Glance, whatever carries it."""

from __future__ import annotations

from typing import Protocol

from stillframe.errors.service import ControllerUnreachable
from stillframe.model import Image, Ticket


class ImagesApi(Protocol):
    """The controller's side: an agent touches no record itself. Remote ones raise ControllerUnreachable, too."""

    def open_upload(self, capture_id: str, attempt: str, image: Image) -> Ticket:
        """Says in the record what data come. Raises Superseded as commit does, ImageDeleted, and what Glance says."""

    def expect_location(self, fsid: str, pool: str) -> None:
        """Glance takes locations in this pool of this Ceph cluster; raises NoStoreInGlance, and what Glance says."""

    def publish_image(self, image: Image) -> str:
        """The record's state after commit; `active` once it is there, and holds what was sent or has its location.

        An image on RBD gets its location by this. Raises ImageDeleted, ImageDiffers, LocationRefused, Superseded.
        """

    def image_published(self, image_id: str) -> bool:
        """Whether it is there with its data."""


class NobodyAtDesk:
    """For who has no controller: all of it raises ControllerUnreachable."""

    def open_upload(self, capture_id: str, attempt: str, image: Image) -> Ticket:  # noqa: ARG002
        """Raises ControllerUnreachable."""
        raise _unreachable()

    def expect_location(self, fsid: str, pool: str) -> None:  # noqa: ARG002
        """Raises ControllerUnreachable."""
        raise _unreachable()

    def publish_image(self, image: Image) -> str:  # noqa: ARG002
        """Raises ControllerUnreachable."""
        raise _unreachable()

    def image_published(self, image_id: str) -> bool:  # noqa: ARG002
        """Raises ControllerUnreachable."""
        raise _unreachable()


def _unreachable() -> ControllerUnreachable:
    return ControllerUnreachable(reason="this command has none")
