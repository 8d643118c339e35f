"""What a raw disk must not be taken for. QEMU's own guessing is asked, to prove that the pretenders are real."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path

import pytest

from stillframe.images.inspection import HEAD, danger

MIB = 1 << 20


def guessed(path: Path) -> str:
    """What QEMU takes a file for when nobody states its format."""
    told = subprocess.run(["qemu-img", "info", "--output=json", str(path)], capture_output=True, timeout=20, check=True)
    return str(json.loads(told.stdout)["format"])


def made(path: Path, form: str, *options: str, size: str = "4M") -> bytes:
    subprocess.run(["qemu-img", "create", "-q", "-f", form, *options, str(path), size], check=True, timeout=20)
    return path.read_bytes()[:HEAD]


def as_disk(path: Path, head: bytes) -> Path:
    """A raw disk whose guest wrote these bytes to its start."""
    path.write_bytes(head.ljust(4 * MIB, b"\0"))
    return path


def test_a_backing_file_is_named(tmp_path: Path) -> None:
    # CVE-2015-7548, CVE-2015-1851
    head = made(tmp_path / "i", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw")
    assert guessed(as_disk(tmp_path / "disk", head)) == "qcow2"
    assert danger(head) == "a qcow2 header with the backing file /etc/passwd"


def test_a_data_file_is_named(tmp_path: Path) -> None:
    # CVE-2024-32498
    data = tmp_path / "data"
    head = made(tmp_path / "i", "qcow2", "-o", f"data_file={data}")
    assert danger(head) == f"a qcow2 header with the data file {data}"


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("qcow2", "qcow2"),
        ("qcow", "qcow"),
        ("qed", "QED"),
        ("vmdk", "VMDK"),
        ("vdi", "VDI"),
        ("vhdx", "VHDX"),
        ("vpc", "VHD"),
        ("parallels", "Parallels"),
    ],
)
def test_every_format_that_qemu_guesses_is_found(tmp_path: Path, form: str, words: str) -> None:
    head = made(tmp_path / "i", form)
    assert guessed(tmp_path / "i") == form
    assert words in (danger(head) or "")


def test_a_vmdk_that_names_a_host_file_is_found_where_qemu_finds_it(tmp_path: Path) -> None:
    # Zeros after a short descriptor hide it from oslo.utils, not from QEMU.
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(MIB))
    head = (
        b'# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
        + f'RW 2048 FLAT "{secret}" 0\n'.encode()
    )
    assert guessed(as_disk(tmp_path / "disk", head)) == "vmdk"
    assert danger(head.ljust(HEAD, b"\0")) == f"a VMDK header with the data file {secret}"
    assert "VMDK" in (danger(b"\r\n  version=3\n".ljust(HEAD, b"\0")) or "")


def test_a_sparse_vmdk_with_a_displaced_descriptor_is_found(tmp_path: Path) -> None:
    head = bytearray(made(tmp_path / "i", "vmdk"))
    struct.pack_into("<Q", head, 28, 7)  # oslo.utils gives up on it and calls it raw
    assert "VMDK" in (danger(bytes(head)) or "")


def test_a_header_behind_a_partition_table_is_still_found(tmp_path: Path) -> None:
    head = bytearray(made(tmp_path / "i", "qcow2"))
    head[510:512] = b"\x55\xaa"
    assert danger(bytes(head)) == "a qcow2 header"


def test_a_damaged_header_is_found() -> None:
    assert danger(b"QFI\xfb\x00\x00\x00\x09".ljust(4096, b"\xff")) == "a qcow2 header that is damaged"


def test_a_guest_cannot_write_into_the_sentence(tmp_path: Path) -> None:
    name = "x\n\x1b[2Jroot"
    head = made(tmp_path / "i", "qcow2", "-u", "-b", name, "-F", "raw")
    assert danger(head) == "a qcow2 header with the backing file x??[2Jroot"


def test_what_guests_have_on_their_disks_is_harmless(tmp_path: Path) -> None:
    mbr = bytearray(HEAD)
    mbr[446:462] = struct.pack("<B3sB3sII", 0x80, b"\0\2\0", 0x83, b"\xfe\xff\xff", 2048, 6144)
    mbr[510:512] = b"\x55\xaa"
    assert danger(bytes(mbr)) is None
    subprocess.run(["mkfs.ext4", "-q", "-F", tmp_path / "fs", "4M"], check=True, timeout=20)
    assert danger((tmp_path / "fs").read_bytes()[:HEAD]) is None
    iso = bytearray(HEAD)
    iso[32768:32775] = b"\x01CD001\x01"
    assert danger(bytes(iso)) is None
    assert danger(b"LUKS\xba\xbe\x00\x01aes".ljust(HEAD, b"\0")) is None
    assert danger(b"a plain text file\nwithout any version\n".ljust(HEAD, b"\0")) is None


@pytest.mark.parametrize("length", [0, 1, 511, 512, 4096, HEAD])
def test_empty_disks_of_any_length_are_harmless(length: int) -> None:
    assert danger(bytes(length)) is None


def test_a_qcow2_image_may_be_qcow2_but_must_stand_alone(tmp_path: Path) -> None:
    assert danger(made(tmp_path / "alone", "qcow2"), "qcow2") is None
    backed = made(tmp_path / "backed", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw")
    assert danger(backed, "qcow2") == "a qcow2 header with the backing file /etc/passwd"
    assert danger(bytes(4096), "qcow2") == "a qcow2 header that is damaged"
