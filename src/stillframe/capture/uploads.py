"""Uploads that are sent but for their last bytes: what makes them images is sent after commit, or never."""

from __future__ import annotations

from contextlib import suppress
from typing import Protocol

from stillframe.errors.base import StillframeError


class Upload(Protocol):
    """One that can be completed or cut off; images/upload.py has the usual one."""

    def complete(self) -> None:
        """Sends the last bytes; returns once the store has the image. Raises StillframeError."""

    def abort(self) -> None:
        """It is not to become an image; may raise OSError."""


class Uploads:
    """Those of one attempt; one thread's."""

    def __init__(self) -> None:
        self._kept: dict[str, Upload] = {}

    def keep(self, image_id: str, upload: Upload) -> None:
        """It waits for commit."""
        self._kept[image_id] = upload

    def complete(self, image_id: str) -> StillframeError | None:
        """Sends the last bytes, where there are some; what went wrong need not mean that they did not arrive."""
        upload = self._kept.pop(image_id, None)
        if upload is None:
            return None
        try:
            upload.complete()
        except StillframeError as error:
            return error
        return None

    def close(self) -> None:
        """Cuts off those that wait still."""
        while self._kept:
            _, upload = self._kept.popitem()
            with suppress(OSError):
                upload.abort()
