"""qcow2 images (version 3, "compat 1.1") whose metadata is computed before the data.

File, in clusters of 64 KiB:

    header | refcount table | refcount blocks | L1 table | L2 tables with data | data, in the disk's order

Every cluster of the file is used exactly once, so all refcounts are 1. Tables are made one cluster at a time, while the
file is written: a disk of any size needs no more memory than its allocation map.

A disk whose size is no multiple of 512 is rounded up with zeros, as QEMU counts disks in sectors.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Iterator
from typing import Final

from stillframe.datapath.allocation import AllocationMap
from stillframe.datapath.layout import Data, Metadata, Piece

CLUSTER_BITS = 16
CLUSTER = 1 << CLUSTER_BITS
SECTOR = 512
ENTRIES = CLUSTER // 8  # of an L1, L2 or refcount table in one cluster
REFCOUNTS = CLUSTER // 2  # of 16 bits in one refcount block
COPIED = 1 << 63  # "refcount is exactly one", in L1 and L2 entries

# magic, version, backing file offset and size, cluster bits, size, encryption, L1 entries, L1 offset,
# refcount table offset and clusters, snapshots, snapshots offset, incompatible, compatible and autoclear features,
# refcount order (2^4 bits), header length
HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")


class Frame:
    """Header, refcounts and L1 table of a file with so many L2 tables and clusters of data behind them.

    No backing file, no snapshots, no bitmaps, nothing compressed or encrypted.
    """

    def __init__(self, size: int, l2_tables: int, data: int = 0) -> None:
        self.virtual_size: Final = _up(size, SECTOR) * SECTOR
        self._l1_entries = l1_entries(size)
        self._l1_clusters = _up(self._l1_entries, ENTRIES)
        self._table, self._blocks = _refcounts(1 + self._l1_clusters + l2_tables + data)
        self._l1 = 1 + self._table + self._blocks
        self.l2: Final = self._l1 + self._l1_clusters  # the first cluster of L2 tables
        self.data: Final = self.l2 + l2_tables  # the first cluster of data
        self.clusters: Final = self.data + data  # of the whole file

    def pieces(self, occupied: Iterable[int]) -> Iterator[Metadata]:
        """Cluster by cluster, up to the L2 tables; `occupied`: the L1 entries that have one, ascending."""
        yield Metadata(0, self._header().ljust(CLUSTER, b"\0"))
        yield from _clusters_at(1, self._refcount_table())
        yield from _clusters_at(1 + self._table, self._refcount_blocks())
        yield from _clusters_at(self._l1, self._l1_table(occupied))

    def _header(self) -> bytes:
        return HEADER.pack(
            *(b"QFI\xfb", 3, 0, 0, CLUSTER_BITS, self.virtual_size, 0),
            *(self._l1_entries, self._l1 * CLUSTER, CLUSTER, self._table, 0, 0, 0, 0, 0, 4, HEADER.size),
        )

    def _refcount_table(self) -> Iterator[bytes]:
        return _tables(range(1 + self._table, 1 + self._table + self._blocks))

    def _refcount_blocks(self) -> Iterator[bytes]:
        for first in range(0, self.clusters, REFCOUNTS):
            yield (b"\0\1" * min(REFCOUNTS, self.clusters - first)).ljust(CLUSTER, b"\0")

    def _l1_table(self, occupied: Iterable[int]) -> Iterator[bytes]:
        entries = array("Q", bytes(8 * self._l1_clusters * ENTRIES))
        for table, number in enumerate(occupied, start=self.l2):
            entries[number] = table * CLUSTER | COPIED
        for first in range(0, len(entries), ENTRIES):
            yield _big_endian(entries[first : first + ENTRIES])


class Qcow2Layout:
    """A frame, the L2 tables that have data, and the data."""

    format: Final = "qcow2"

    def __init__(self, allocation: AllocationMap) -> None:
        if allocation.cluster != CLUSTER:
            raise ValueError(f"a map of {allocation.cluster} bytes a cluster, not {CLUSTER}")
        self._allocation = allocation
        data = allocation.data_clusters
        self._frame = Frame(allocation.size, sum(1 for _ in allocation.occupied(ENTRIES)), data)
        self.virtual_size: Final = self._frame.virtual_size
        self.length: Final = self._frame.clusters * CLUSTER
        self.hole_bytes: Final = data * CLUSTER - allocation.data_bytes

    def pieces(self) -> Iterator[Piece]:
        """The metadata cluster by cluster, then one piece for each contiguous range of data."""
        yield from self._frame.pieces(self._allocation.occupied(ENTRIES))
        yield from _clusters_at(self._frame.l2, self._l2_table())
        target = self._frame.data * CLUSTER
        for source, length in self._allocation.runs():
            yield Data(source, target, length)
            target += length

    def _l2_table(self) -> Iterator[bytes]:
        offset = self._frame.data * CLUSTER | COPIED
        for number in self._allocation.occupied(ENTRIES):
            start = number * ENTRIES
            entries = array("Q", bytes(CLUSTER))
            for first, count in self._allocation.cluster_runs(start, min(start + ENTRIES, self._allocation.clusters)):
                end = offset + count * CLUSTER
                entries[first - start : first - start + count] = array("Q", range(offset, end, CLUSTER))
                offset = end
            yield _big_endian(entries)


def qcow2(allocation: AllocationMap) -> Qcow2Layout:
    """The layout of a qcow2 image of this disk; the map must have clusters of 64 KiB."""
    return Qcow2Layout(allocation)


def l1_entries(size: int) -> int:
    """How many L2 tables a disk of `size` bytes can have."""
    return max(1, _up(size, CLUSTER * ENTRIES))


def _refcounts(others: int) -> tuple[int, int]:
    """Clusters of the refcount table and of refcount blocks for so many other clusters; they count themselves too."""
    table = blocks = 1
    while True:
        needed = _up(others + table + blocks, REFCOUNTS)
        if (needed, _up(needed, ENTRIES)) == (blocks, table):
            return table, blocks
        table, blocks = _up(needed, ENTRIES), needed


def _tables(clusters: range) -> Iterator[bytes]:
    """Table clusters that point to these clusters."""
    for first in range(0, len(clusters), ENTRIES):
        offsets = (cluster * CLUSTER for cluster in clusters[first : first + ENTRIES])
        yield _big_endian(array("Q", offsets)).ljust(CLUSTER, b"\0")


def _clusters_at(first: int, contents: Iterator[bytes]) -> Iterator[Metadata]:
    for number, content in enumerate(contents, start=first):
        yield Metadata(number * CLUSTER, content)


def _big_endian(entries: array[int]) -> bytes:
    if sys.byteorder == "little":
        entries.byteswap()
    return entries.tobytes()


def _up(value: int, unit: int) -> int:
    return -(-value // unit)
