"""Images as one list: those of the store, and those that captures are still making."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from heapq import merge

from stillframe.controller.captures import Captures
from stillframe.errors.request import CaptureNotFound, ImageFailed, ImageNotFound
from stillframe.images.directory import DirectoryStore
from stillframe.model import CaptureStatus, Image

OPEN = ("public", "community")
SHARED_WITH = "instance_owner"  # the property that names the project of the instance


def visible(image: Image, project: str | None) -> bool:
    """Whether a project (None: the administrator) sees the image."""
    if project is None or image.visibility in OPEN:
        return True
    return project in (image.owner, image.properties.get(SHARED_WITH))


def with_visibility(image: Image) -> Image:
    """A private image that another project has a part in is a shared one."""
    shared = image.visibility == "private" and SHARED_WITH in image.properties
    return replace(image, visibility="shared") if shared else image


class Images:
    """What the image API shows."""

    def __init__(self, store: DirectoryStore, captures: Captures) -> None:
        self._store = store
        self._captures = captures

    def get(self, image_id: str, project: str | None) -> Image:
        """Raises ImageNotFound, or ImageFailed when its capture ended without it."""
        try:
            image = self._store.get(image_id)
        except ImageNotFound:
            return self._pending(image_id, project)
        if not visible(image, project):
            raise ImageNotFound(image=image_id)
        return with_visibility(image)

    def all(self, project: str | None) -> Iterator[Image]:
        """Newest first."""
        published = [with_visibility(image) for image in self._store.images() if visible(image, project)]
        known = {image.id for image in published}
        pending = [image for image in self._captures.pending_images(project) if image.id not in known]
        return merge(published, pending, key=lambda image: (image.created_at, image.id), reverse=True)

    def _pending(self, image_id: str, project: str | None) -> Image:
        try:
            return self._captures.pending_image(image_id, project)
        except ImageNotFound:
            raise self._why_not(image_id, project) from None

    def _why_not(self, image_id: str, project: str | None) -> ImageNotFound | ImageFailed:
        """Nova's clients poll the image: tell them there why it will never come."""
        try:
            capture = self._captures.get(image_id, project)
        except CaptureNotFound:
            return ImageNotFound(image=image_id)
        if capture.status == CaptureStatus.CANCELLED:
            return ImageFailed(image=image_id, outcome="was cancelled")
        if capture.status == CaptureStatus.FAILED and capture.fault is not None:
            return ImageFailed(image=image_id, outcome=f"failed. {capture.fault.message.rstrip('.')}")
        return ImageNotFound(image=image_id)
