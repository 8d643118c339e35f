"""Which objects of an image hold data."""

from __future__ import annotations

from collections.abc import Iterator

import rbd

from stillframe.datapath.reader import Extent

OBJECT = 4 << 20  # bytes of librbd's objects unless told otherwise: it reads whole ones the fastest

Range = tuple[int, int]  # offset and length in bytes


def data(opened: rbd.Image, *, parents: bool) -> list[Range]:
    """Ranges with data of an open image or snapshot, ascending; with `parents` also what it only inherits.

    Whole objects, from the object map: milliseconds, where asking each object would take minutes for a terabyte.
    """
    size = opened.size()
    found: list[Range] = []

    def collect(offset: int, length: int, holds: bool) -> None:
        if not holds:
            return
        if found and sum(found[-1]) == offset:
            found[-1] = (found[-1][0], found[-1][1] + length)
        else:
            found.append((offset, length))

    if size:
        opened.diff_iterate(0, size, None, collect, include_parent=parents, whole_object=True)
    return found


def whole(size: int, ranges: list[Range]) -> Iterator[Extent]:
    """The whole disk: these ranges, and the holes between them."""
    position = 0
    for offset, length in ranges:
        if offset > position:
            yield Extent(position, offset - position, data=False)
        yield Extent(offset, length, data=True)
        position = offset + length
    if position < size:
        yield Extent(position, size - position, data=False)
