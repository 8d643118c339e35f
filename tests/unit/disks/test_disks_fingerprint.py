"""Fingerprints of files; those of devices need a real one (tests/real)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stillframe.disks.fingerprint import fingerprint
from stillframe.errors.capture import ReadFailed
from stillframe.model import Disk, DiskKind, Layer


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    for name in ("top", "base"):
        (tmp_path / name).write_bytes(bytes(4096))
        os.utime(tmp_path / name, (1_000_000_000, 1_000_000_000))  # the kernel's clock ticks too slowly for tests
    return Disk("vda", (Layer(str(tmp_path / "top"), "qcow2"), Layer(str(tmp_path / "base"), "raw")))


@pytest.mark.parametrize("layer", ["top", "base"])
def test_a_write_of_the_same_length_is_seen(disk: Disk, tmp_path: Path, layer: str) -> None:
    before = fingerprint(disk)
    with (tmp_path / layer).open("r+b") as file:
        file.write(b"x")
    assert fingerprint(disk) != before


def test_a_file_put_in_the_place_of_another_is_seen(disk: Disk, tmp_path: Path) -> None:
    before = fingerprint(disk)
    (tmp_path / "new").write_bytes(bytes(4096))
    os.utime(tmp_path / "new", (1_000_000_000, 1_000_000_000))
    (tmp_path / "new").rename(tmp_path / "top")
    assert fingerprint(disk) != before


def test_reading_and_a_new_owner_are_not_writes(disk: Disk, tmp_path: Path) -> None:
    before = fingerprint(disk)
    (tmp_path / "top").read_bytes()
    (tmp_path / "base").chmod(0o644)
    (tmp_path / "base").chmod(0o600)
    assert fingerprint(disk) == before


def test_a_layer_that_is_gone_is_an_error(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "base").unlink()
    with pytest.raises(ReadFailed):
        fingerprint(disk)


def test_network_layers_are_left_alone(disk: Disk) -> None:
    remote = Layer("rbd:pool/volume", "raw", DiskKind.NETWORK)
    assert fingerprint(Disk("vda", (*disk.chain, remote))).endswith("network")
