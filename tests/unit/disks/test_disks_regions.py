"""Which parts of a disk hold data, as the topmost tables of its layers say."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stillframe.disks.regions import occupied
from stillframe.model import Disk, DiskKind, Layer
from stillframe.qcow2header import HeaderError

MIB, GIB = 1 << 20, 1 << 30
UNIT = 512 * MIB
SIZE = 4 * GIB + MIB  # nine units, the last of them short


def disk(*layers: Layer, size: int = SIZE) -> Disk:
    return Disk("vda", layers, size=size)


def written(path: Path, *places: int, form: str = "qcow2", options: str = "", size: int = SIZE) -> Layer:
    """A new layer with a byte at each of the places."""
    if form == "raw":
        with path.open("xb") as file:  # qemu-img would write its first block
            file.truncate(size)
    else:
        given = ["-o", options] if options else []
        subprocess.run(["qemu-img", "create", "-q", "-f", form, *given, path, str(size)], check=True, timeout=20)
    words = [word for place in places for word in ("-c", f"write -P 7 {place} 512")]
    if words:
        subprocess.run(["qemu-io", "-f", form, *words, path], check=True, timeout=20, stdout=subprocess.DEVNULL)
    return Layer(str(path), form)


@pytest.mark.parametrize("form", ["raw", "qcow2"])
def test_units_that_hold_a_byte_are_found_and_no_others(tmp_path: Path, form: str) -> None:
    places = (UNIT - 512, 3 * UNIT, 3 * UNIT + 5 * MIB, SIZE - 512)
    assert occupied(disk(written(tmp_path / "disk", *places, form=form)), UNIT) == [0, 3, 8]
    assert occupied(disk(written(tmp_path / "empty", form=form)), UNIT) == []


@pytest.mark.parametrize(
    ("options", "covered"),
    [("extended_l2=on", [3]), ("cluster_size=16384", [3]), ("cluster_size=128k", [0, 1, 2, 3]), ("compat=0.10", [3])],
)
def test_an_entry_of_a_qcow2_covers_what_its_clusters_make_it(tmp_path: Path, options: str, covered: list[int]) -> None:
    assert occupied(disk(written(tmp_path / "disk", 3 * UNIT, options=options)), UNIT) == covered


def test_every_layer_counts_as_far_as_the_disk_reaches(tmp_path: Path) -> None:
    top = written(tmp_path / "top", UNIT, size=2 * GIB)
    below = written(tmp_path / "below", 2 * UNIT, 7 * UNIT)
    base = written(tmp_path / "base", 3 * UNIT, form="raw", size=GIB + UNIT + MIB)
    assert occupied(disk(top, below, base, size=2 * GIB), UNIT) == [1, 2, 3]


def test_a_layer_that_tells_nothing_counts_as_full(tmp_path: Path) -> None:
    everything = list(range(9))
    assert occupied(disk(Layer("pool/volume", "raw", DiskKind.NETWORK)), UNIT) == everything
    assert occupied(disk(written(tmp_path / "disk", form="vmdk")), UNIT) == everything


def test_a_layer_that_is_not_what_it_is_said_to_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(1024))
    with pytest.raises(HeaderError):
        occupied(disk(Layer(str(tmp_path / "disk"), "qcow2")), UNIT)
    with pytest.raises(FileNotFoundError):
        occupied(disk(Layer(str(tmp_path / "none"), "raw")), UNIT)
