"""What is about to be published must be read as what it is."""

from __future__ import annotations

from stillframe.errors.capture import UnsafeContent
from stillframe.images import inspection


def refuse_disguise(head: bytes, disk_format: str) -> None:
    """Raises UnsafeContent when the first bytes of an image would make a reader open other files.

    The bytes are the held ones, never the live disk's: what is checked is what is published.
    """
    found = inspection.danger(head, disk_format)
    if found:
        raise UnsafeContent(found=found)
