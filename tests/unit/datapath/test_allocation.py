from __future__ import annotations

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillframe.datapath.allocation import CLUSTER, AllocationMap, map_of
from stillframe.errors.capture import ReadFailed
from tests.unit.datapath.fakes import PatternReader, nothing

SIZES = st.integers(0, 200 * CLUSTER)
RANGES = st.lists(st.tuples(st.integers(0, 200 * CLUSTER), st.integers(0, 40 * CLUSTER)), max_size=12)


def clusters_touched(size: int, ranges: list[tuple[int, int]]) -> set[int]:
    return {
        cluster
        for offset, length in ranges
        if offset < size and length
        for cluster in range(offset // CLUSTER, -(-min(offset + length, size) // CLUSTER))
    }


@given(SIZES, RANGES)
def test_runs_are_exactly_the_clusters_that_were_touched(size: int, ranges: list[tuple[int, int]]) -> None:
    found = map_of(PatternReader(size, ranges), nothing)
    runs = list(found.runs())
    covered = [
        cluster for offset, length in runs for cluster in range(offset // CLUSTER, -(-(offset + length) // CLUSTER))
    ]
    assert covered == sorted(clusters_touched(size, ranges))
    assert found.data_bytes == sum(length for _, length in runs)
    assert found.data_clusters == len(covered)
    assert all(before + length < after for (before, length), (after, _) in pairwise(runs))
    assert all(offset + length <= size for offset, length in runs)


@given(SIZES, RANGES)
def test_occupied_names_the_ranges_with_any_data(size: int, ranges: list[tuple[int, int]]) -> None:
    found = map_of(PatternReader(size, ranges), nothing)
    assert list(found.occupied(16)) == sorted({cluster // 16 for cluster in clusters_touched(size, ranges)})


@given(SIZES, RANGES, st.integers(0, 200), st.integers(0, 200))
def test_cluster_runs_stay_within_their_bounds(size: int, ranges: list[tuple[int, int]], one: int, other: int) -> None:
    found = map_of(PatternReader(size, ranges), nothing)
    first, stop = sorted((min(one, found.clusters), min(other, found.clusters)))
    covered = [cluster for start, count in found.cluster_runs(first, stop) for cluster in range(start, start + count)]
    assert covered == sorted(clusters_touched(size, ranges) & set(range(first, stop)))


def test_a_tebibyte_takes_two_mebibytes() -> None:
    tracemalloc.start()
    found = AllocationMap(1 << 40)
    found.add((1 << 40) - 5, 5)
    assert list(found.runs()) == [((1 << 40) - CLUSTER, CLUSTER)]
    assert list(found.occupied(8192)) == [2047]
    assert found.data_bytes == CLUSTER
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 7 << 20


def test_a_failing_reader_makes_no_map() -> None:
    def broken() -> None:
        raise ReadFailed(offset=0)

    with pytest.raises(ReadFailed):
        map_of(PatternReader(CLUSTER, [(0, 10)]), broken)
