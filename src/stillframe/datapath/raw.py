"""Raw images: the disk's own bytes, holes where it has no data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from stillframe.datapath.allocation import AllocationMap
from stillframe.datapath.layout import Data


class RawLayout:
    """As long as the disk, to the byte."""

    format: Final = "raw"

    def __init__(self, allocation: AllocationMap) -> None:
        self._allocation = allocation
        self.length: Final = allocation.size
        self.virtual_size: Final = allocation.size
        self.hole_bytes: Final = allocation.size - allocation.data_bytes

    def pieces(self) -> Iterator[Data]:
        """One piece for each contiguous range of data."""
        for offset, length in self._allocation.runs():
            yield Data(offset, offset, length)


def raw(allocation: AllocationMap) -> RawLayout:
    """The layout of a raw image of this disk."""
    return RawLayout(allocation)
