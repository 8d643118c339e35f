from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillframe.datapath.allocation import AllocationMap
from stillframe.datapath.qcow2 import CLUSTER, COPIED, HEADER, qcow2
from stillframe.datapath.raw import raw

GIB = 1 << 30


def mapped(size: int, *ranges: tuple[int, int]) -> AllocationMap:
    found = AllocationMap(size)
    for offset, length in ranges:
        found.add(offset, length)
    return found


@given(
    st.integers(0, 40 * GIB),
    st.lists(st.tuples(st.integers(0, 40 * GIB), st.integers(0, GIB)), max_size=6),
    st.sampled_from([qcow2, raw]),
)
def test_pieces_and_holes_are_the_whole_length(size: int, ranges: list[tuple[int, int]], layout_of: type) -> None:
    layout = layout_of(mapped(size, *ranges))
    position = holes = 0
    for piece in layout.pieces():
        assert piece.target >= position
        holes += piece.target - position
        position = piece.target + piece.length
    assert position <= layout.length
    assert holes + layout.length - position == layout.hole_bytes


def test_an_entry_leads_from_the_header_to_the_data() -> None:
    layout = qcow2(mapped(3 * GIB, (2 * GIB + 5 * CLUSTER, CLUSTER)))
    image = {piece.target: piece for piece in layout.pieces()}
    header = HEADER.unpack_from(image[0].data)  # type: ignore[union-attr]
    assert header[:6] == (b"QFI\xfb", 3, 0, 0, 16, 3 * GIB)
    l1 = image[header[8]].data  # type: ignore[union-attr]
    l2_entry = int.from_bytes(l1[8 * 4 : 8 * 5], "big")
    assert l2_entry & COPIED
    l2 = image[l2_entry & ~COPIED].data  # type: ignore[union-attr]
    data_entry = int.from_bytes(l2[8 * 5 : 8 * 6], "big")
    assert data_entry & COPIED
    data = image[data_entry & ~COPIED]
    assert (data.source, data.length) == (2 * GIB + 5 * CLUSTER, CLUSTER)  # type: ignore[union-attr]


@pytest.mark.parametrize(("size", "virtual"), [(0, 0), (1, 512), (512, 512), (65537, 66048)])
def test_a_disk_counts_in_sectors(size: int, virtual: int) -> None:
    assert qcow2(mapped(size)).virtual_size == virtual
    assert raw(mapped(size)).virtual_size == size


def test_the_tables_of_a_tebibyte_are_never_in_memory_at_once() -> None:
    tracemalloc.start()
    layout = qcow2(mapped(1 << 40, (0, 8 * GIB), (512 * GIB, 8 * GIB)))
    for _ in layout.pieces():
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 7 << 20


def test_other_clusters_are_refused() -> None:
    with pytest.raises(ValueError, match="4096"):
        qcow2(AllocationMap(GIB, 4096))
