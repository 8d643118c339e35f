"""Where in a disk its files hold anything: read from no more than their topmost tables, so cheap at any size."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import BinaryIO

from stillframe import qcow2header
from stillframe.model import Disk, DiskKind, Layer


def occupied(disk: Disk, unit: int) -> list[int]:
    """The numbers of those units of `unit` bytes of an inspected disk in which a layer may hold data, ascending.

    An upper bound: a layer of which this cannot be told cheaply counts as full of data. Raises OSError, HeaderError.
    """
    marks = bytearray(-(-disk.size // unit))
    for layer in disk.chain:
        for start, end in _ranges(layer, disk.size, unit):
            first, last = start // unit, min(-(-end // unit), len(marks))
            marks[first:last] = b"\1" * (last - first)
    return [number for number, marked in enumerate(marks) if marked]


def _ranges(layer: Layer, size: int, unit: int) -> Iterator[tuple[int, int]]:
    """From where to where in a disk of `size` bytes a layer may hold data."""
    if layer.kind is DiskKind.NETWORK or layer.format not in ("raw", "qcow2"):
        yield 0, size
        return
    with open(layer.path, "rb") as file:  # noqa: PTH123 -- paths of layers are text throughout
        yield from _of_raw(file, size, unit) if layer.format == "raw" else _of_qcow2(file, size)


def _of_raw(file: BinaryIO, size: int, unit: int) -> Iterator[tuple[int, int]]:
    position = 0
    while position < size:
        try:
            start = os.lseek(file.fileno(), position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data from here on
                return
            if error.errno != errno.EINVAL:
                raise
            yield position, size  # a block device knows of no holes
            return
        position = (start // unit + 1) * unit  # one byte of a unit is enough
        yield start, min(position, size)


def _of_qcow2(file: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    table = qcow2header.parse(file.read(qcow2header.LONGEST)).l1
    file.seek(table.offset)
    for number in range(min(table.entries, -(-size // table.covers))):
        if any(file.read(8)):
            yield number * table.covers, min((number + 1) * table.covers, size)
