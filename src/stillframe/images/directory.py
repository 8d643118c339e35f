"""Images in a directory: ID.FORMAT holds the bytes, ID.json says that they are published."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stillframe.model import Image


@dataclass(frozen=True, slots=True)
class Half:
    """Something in the directory that is not a published image, and why."""

    image_id: str
    name: str  # the file's
    reason: str


class DirectoryStore:
    """A directory of images, usable by any number of threads and processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self) -> None:
        """Makes the directory (0700) unless it exists, and proves that images can be published; raises StoreUnusable."""
        raise NotImplementedError

    def check(self) -> None:
        """Cheap, for health checks; raises StoreUnusable."""
        raise NotImplementedError

    def free(self) -> int:
        """Bytes that may still be written; raises StoreUnusable."""
        raise NotImplementedError

    def part(self, image_id: str) -> Path:
        """Where the image's bytes are to be written first."""
        raise NotImplementedError

    def publish(self, image: Image) -> None:
        """Makes the part an image: all durable, data before record, nothing replaced. Doing it again is fine.

        Raises ImageExists, WriteFailed, StoreUnusable.
        """
        raise NotImplementedError

    def get(self, image_id: str) -> Image:
        """Raises ImageNotFound."""
        raise NotImplementedError

    def images(self) -> Iterator[Image]:
        """The published images, newest first; raises StoreUnusable."""
        raise NotImplementedError

    def data(self, image_id: str) -> Path:
        """The file of a published image; raises ImageNotFound."""
        raise NotImplementedError

    def delete(self, image_id: str) -> None:
        """Unpublishes, then removes the data; raises ImageNotFound."""
        raise NotImplementedError

    def halves(self) -> Iterator[Half]:
        """What is there and not published, or published and damaged."""
        raise NotImplementedError

    def tidy(self) -> None:
        """Finishes deletions that were interrupted; for the start of the service."""
        raise NotImplementedError

    def discard(self, image_id: str) -> None:
        """Removes whatever of this image is not published; idempotent."""
        raise NotImplementedError
