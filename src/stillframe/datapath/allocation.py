"""Which clusters of a disk hold data: one bit a cluster, 2 MiB of memory for 1 TiB."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stillframe.datapath.reader import Check, Reader

CLUSTER = 65536

# C loops over the bitmap: 16 million empty clusters pass in a millisecond
_ZEROS = re.compile(rb"\x00*")
_ONES = re.compile(rb"\xff*")


class AllocationMap:
    """A disk of `size` bytes in clusters; the last one may be cut short by the disk's end."""

    def __init__(self, size: int, cluster: int = CLUSTER) -> None:
        self.size = size
        self.cluster = cluster
        self.clusters = -(-size // cluster)
        self._bits = bytearray(-(-self.clusters // 8))

    def add(self, offset: int, length: int) -> None:
        """Mark every cluster that this range of bytes touches as data."""
        end = min(offset + length, self.size)
        if offset >= end:
            return
        first, stop = offset // self.cluster, -(-end // self.cluster)
        low, high = first // 8, stop // 8
        if low == high:
            self._bits[low] |= (1 << stop % 8) - (1 << first % 8)
            return
        self._bits[low] |= 256 - (1 << first % 8)
        self._bits[low + 1 : high] = b"\xff" * (high - low - 1)
        if stop % 8:
            self._bits[high] |= (1 << stop % 8) - 1

    @property
    def data_clusters(self) -> int:
        """How many clusters hold data."""
        return int.from_bytes(self._bits, "little").bit_count()

    @property
    def data_bytes(self) -> int:
        """How many bytes the clusters with data have, up to the disk's end."""
        last = self.clusters - 1
        cut = self.clusters * self.cluster - self.size
        return self.data_clusters * self.cluster - (cut if self.clusters and self._holds(last) else 0)

    def runs(self) -> Iterator[tuple[int, int]]:
        """Offset and length in bytes of each contiguous range of data, ascending; the last ends with the disk."""
        for first, count in self.cluster_runs(0, self.clusters):
            offset = first * self.cluster
            yield offset, min(count * self.cluster, self.size - offset)

    def cluster_runs(self, first: int, stop: int) -> Iterator[tuple[int, int]]:
        """First cluster and number of clusters of each contiguous range of data within these clusters."""
        position = self._seek(first, stop, data=True)
        while position < stop:
            end = self._seek(position, stop, data=False)
            yield position, end - position
            position = self._seek(end, stop, data=True)

    def occupied(self, clusters: int) -> Iterator[int]:
        """The numbers of those ranges of so many clusters (a multiple of 8) that hold any data, ascending."""
        position = self._seek(0, self.clusters, data=True)
        while position < self.clusters:
            number = position // clusters
            yield number
            position = self._seek((number + 1) * clusters, self.clusters, data=True)

    def _holds(self, cluster: int) -> bool:
        return bool(self._bits[cluster // 8] >> cluster % 8 & 1)

    def _seek(self, cluster: int, stop: int, *, data: bool) -> int:
        """The first cluster from here that holds data, or that holds none; `stop` where there is none such."""
        if cluster >= stop:
            return stop
        flip = 0 if data else 0xFF
        here = (self._bits[cluster // 8] ^ flip) >> cluster % 8
        if here:
            return min(stop, cluster + _lowest(here))
        same = (_ZEROS if data else _ONES).match(self._bits, cluster // 8 + 1, -(-stop // 8))
        byte = same.end() if same else stop
        if byte * 8 >= stop:
            return stop
        return min(stop, byte * 8 + _lowest(self._bits[byte] ^ flip))


def map_of(reader: Reader, check: Check, cluster: int = CLUSTER) -> AllocationMap:
    """The map of a disk as its reader tells it; raises ReadFailed, or what `check` raises."""
    found = AllocationMap(reader.size, cluster)
    for extent in reader.extents(check):
        if extent.data:
            found.add(extent.offset, extent.length)
    return found


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1
