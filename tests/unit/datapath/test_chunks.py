from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stillframe.datapath.allocation import map_of
from stillframe.datapath.chunks import Run, chunks, runs
from stillframe.datapath.layout import Data, Metadata, Piece
from stillframe.datapath.qcow2 import qcow2
from tests.unit.datapath.fakes import PatternReader, nothing

GAP_AND_LENGTH = st.tuples(st.sampled_from([0, 0, 1, 7, 4096]), st.integers(1, 5000), st.booleans())


@given(st.lists(GAP_AND_LENGTH, max_size=20))
def test_chunks_hold_each_byte_of_each_piece_once_and_cross_no_boundary(shape: list[tuple[int, int, bool]]) -> None:
    pieces: list[Piece] = []
    position = 0
    for number, (gap, length, is_data) in enumerate(shape):
        position += gap
        pieces.append(Data(number << 32, position, length) if is_data else Metadata(position, bytes([number]) * length))
        position += length

    wanted = {piece.target + i: (piece, i) for piece in pieces for i in range(piece.length)}
    got = {}
    last = 0
    for chunk in chunks(pieces, 1024):
        assert chunk.target >= last
        last = chunk.target + chunk.length
        assert chunk.target // 1024 == (last - 1) // 1024
        for source, at, length in chunk.reads:
            got.update({chunk.target + at + i: source + i for i in range(length)})
        for at, data in chunk.metadata:
            got.update({chunk.target + at + i: data[i] for i in range(len(data))})
    assert got == {
        target: piece.source + i if isinstance(piece, Data) else piece.data[i] for target, (piece, i) in wanted.items()
    }


def test_scraps_of_a_fragmented_disk_become_full_chunks() -> None:
    every_second = [(number * 131072, 65536) for number in range(160)]
    layout = qcow2(map_of(PatternReader(160 * 131072, every_second), nothing))
    lengths = [chunk.length for chunk in chunks(layout.pieces(), 1 << 20)]
    assert lengths[:-1] == [1 << 20] * (len(lengths) - 1)


@given(st.lists(GAP_AND_LENGTH, max_size=20), st.integers(1, 3000), st.integers(1, 3000))
def test_runs_are_what_the_file_has_on_end_but_for_short_ones(
    shape: list[tuple[int, int, bool]], least: int, most: int
) -> None:
    pieces, position = [], 0
    for gap, length, _ in shape:
        pieces.append(Data(0, position + gap, length))
        position += gap + length
    found = list(runs(pieces, least, most))
    assert all(run.length == most or least <= run.length < most for run in found)
    covered = {run.target + i for run in found for i in range(run.length)}
    assert len(covered) == sum(run.length for run in found)
    there = {piece.target + i for piece in pieces for i in range(piece.length)}
    assert covered <= there
    missing, together = sorted(there - covered), 0
    for before, at in zip([-2, *missing], missing, strict=False):
        together = together + 1 if at == before + 1 else 1
        assert together < max(least, 1)


def test_a_whole_disk_in_one_piece_is_cut_into_runs_without_being_walked_through() -> None:
    found = runs([Data(0, 65536, 1 << 40)], 1 << 20, 64 << 20)
    assert next(found) == Run(65536, 64 << 20)
    assert next(found) == Run(65536 + (64 << 20), 64 << 20)
