"""The layers of a disk: which files, in which formats. Formats are stated somewhere, never guessed."""

from __future__ import annotations

from stillframe.model import Disk


def inspected(disk: Disk) -> Disk:
    """The disk with its whole chain and its size, as its definition and its headers state them.

    A chain that reaches the network ends there: such a layer is listed, and nothing below it. Raises ChainUnknown.
    """
    raise NotImplementedError


def allocated(disk: Disk) -> int:
    """Upper bound of the bytes of an inspected disk that hold data now; a running guest adds what it writes."""
    raise NotImplementedError


def self_contained(disk: Disk) -> bool:
    """True when the top layer alone is the whole (inspected) disk, so that a copy of its file is a usable image."""
    raise NotImplementedError
