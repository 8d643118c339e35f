"""Chains: every format is stated, nothing that a guest wrote is followed."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path

import pytest

from stillframe.disks import graph
from stillframe.disks.chain import allocated, inspected
from stillframe.errors.capture import ChainUnknown
from stillframe.model import Disk, DiskKind, Layer

MIB = 1 << 20


def disk(path: Path, form: str, *below: Layer) -> Disk:
    return Disk("vda", (Layer(str(path), form), *below))


def create(path: Path, *options: str, size: str = "8M") -> Path:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, str(path), size], check=True, timeout=20)
    return path


def raw_file(path: Path, size: int = 8 * MIB) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def header(
    path: Path,
    backing: bytes = b"",
    extensions: tuple[tuple[int, bytes], ...] = (),
    backing_at: int | None = None,
    features: int = 0,
    length: int = 65536,
    crypt: int = 0,
) -> Path:
    """A qcow2 header made by hand, for what qemu-img would not write."""
    body = b""
    for kind, data in extensions:
        body += struct.pack(">II", kind, len(data)) + data.ljust(-(-len(data) // 8) * 8, b"\0")
    body += bytes(8)
    at = backing_at if backing_at is not None else (104 + len(body) if backing else 0)
    head = struct.pack(
        ">4sIQIIQIIQQIIQ", b"QFI\xfb", 3, at, len(backing), 16, 8 * MIB, crypt, 1, 196608, 65536, 1, 0, 0
    )
    head += struct.pack(">QQQII", features, 0, 0, 4, 104)
    path.write_bytes((head + body + backing).ljust(length, b"\0"))
    return path


def reason(of: Disk) -> str:
    with pytest.raises(ChainUnknown) as refused:
        inspected(of)
    return refused.value.fault.message


def test_a_chain_is_followed_through_the_headers_and_relative_names(tmp_path: Path) -> None:
    raw_file(tmp_path / "base.img", 6 * MIB)
    create(tmp_path / "middle.qcow2", "-b", "base.img", "-F", "raw", size="7M")
    top = create(tmp_path / "top.qcow2", "-b", "middle.qcow2", "-F", "qcow2", size="8M")
    found = inspected(disk(top, "qcow2"))
    assert [(Path(layer.path).name, layer.format) for layer in found.chain] == [
        ("top.qcow2", "qcow2"),
        ("middle.qcow2", "qcow2"),
        ("base.img", "raw"),
    ]
    assert all(Path(layer.path).is_absolute() for layer in found.chain)
    assert found.size == 8 * MIB


def test_the_definition_goes_before_the_header(tmp_path: Path) -> None:
    other = raw_file(tmp_path / "other.img")
    raw_file(tmp_path / "base.img")
    top = create(tmp_path / "top.qcow2", "-b", "base.img", "-F", "raw")
    found = inspected(disk(top, "qcow2", Layer(str(other), "raw")))
    assert [Path(layer.path).name for layer in found.chain] == ["top.qcow2", "other.img"]


def test_a_raw_disk_is_its_length_whatever_its_guest_wrote_there(tmp_path: Path) -> None:
    # CVE-2015-1851, CVE-2015-7548: a guest writes a qcow2 header with a backing file into its raw disk.
    pretender = header(tmp_path / "disk", b"/etc/passwd", ((0xE2792ACA, b"raw"),), length=3 * MIB)
    found = inspected(disk(pretender, "raw"))
    assert found.chain == (Layer(str(pretender), "raw"),)
    assert found.size == 3 * MIB


def test_qemu_reads_a_pretender_below_an_overlay_as_plain_bytes(tmp_path: Path) -> None:
    # CVE-2026-24708 and its kin: the formats of the layers below are stated to QEMU as well.
    secret = tmp_path / "secret"
    secret.write_bytes(b"host secret".ljust(MIB, b"\0"))
    base = header(tmp_path / "base", str(secret).encode(), ((0xE2792ACA, b"raw"),), length=MIB)
    top = create(tmp_path / "top", "-b", str(base), "-F", "raw", size="1M")
    out = tmp_path / "out"
    name = graph.filename(inspected(disk(top, "qcow2")))
    subprocess.run(["qemu-img", "convert", "-O", "raw", name, str(out)], check=True, timeout=20)
    assert out.read_bytes() == base.read_bytes()


def test_a_header_changed_after_the_inspection_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"host secret".ljust(8 * MIB, b"\0"))
    top = create(tmp_path / "top")
    name = graph.filename(inspected(disk(top, "qcow2")))
    create(top, "-b", str(secret), "-F", "raw")
    out = tmp_path / "out"
    subprocess.run(["qemu-img", "convert", "-O", "raw", name, str(out)], check=True, timeout=20)
    assert b"host secret" not in out.read_bytes()


def test_a_backing_file_without_a_format_is_refused(tmp_path: Path) -> None:
    raw_file(tmp_path / "base")
    assert "without stating" in reason(disk(header(tmp_path / "top", b"base"), "qcow2"))


def test_a_data_file_is_refused(tmp_path: Path) -> None:
    # CVE-2024-32498, CVE-2024-40767
    raw_file(tmp_path / "data")
    top = create(tmp_path / "top", "-o", f"data_file={tmp_path}/data,data_file_raw=on")
    assert "data_file" in reason(disk(top, "qcow2"))
    assert "data_file" in reason(disk(header(tmp_path / "nameless", features=4), "qcow2"))
    assert "data_file" in reason(disk(header(tmp_path / "named", extensions=((0x44415441, b"/etc/shadow"),)), "qcow2"))


def test_a_backing_file_described_in_json_is_refused(tmp_path: Path) -> None:
    name = b'json:{"driver":"raw","file":{"driver":"file","filename":"/etc/passwd"}}'
    assert "json" in reason(disk(header(tmp_path / "top", name, ((0xE2792ACA, b"raw"),)), "qcow2"))


@pytest.mark.parametrize("form", ["", "dir", "vvfat", "nbd", "auto"])
def test_formats_that_are_none_are_refused(tmp_path: Path, form: str) -> None:
    assert "layer 1" in reason(disk(raw_file(tmp_path / "disk"), form))


def test_a_disk_that_is_not_what_it_is_said_to_be_is_refused(tmp_path: Path) -> None:
    assert "does not begin as one" in reason(disk(raw_file(tmp_path / "disk"), "qcow2"))
    assert "does not begin as one" in reason(disk(raw_file(tmp_path / "empty", 0), "qcow2"))


def test_headers_that_contradict_themselves_are_refused(tmp_path: Path) -> None:
    outside = header(tmp_path / "outside", b"base", backing_at=1 << 40)
    assert "outside of its header" in reason(disk(outside, "qcow2"))
    endless = header(tmp_path / "endless")
    with endless.open("r+b") as file:
        file.seek(104)
        file.write(struct.pack(">II", 7, 0xFFFFFFFF))
    assert "do not end" in reason(disk(endless, "qcow2"))


def test_a_chain_that_comes_back_to_itself_is_refused(tmp_path: Path) -> None:
    backed = ((0xE2792ACA, b"qcow2"),)
    header(tmp_path / "one", b"two", backed)
    header(tmp_path / "two", b"one", backed)
    assert "comes back" in reason(disk(tmp_path / "one", "qcow2"))


def test_a_missing_layer_is_named_to_the_operator_only(tmp_path: Path) -> None:
    with pytest.raises(ChainUnknown) as refused:
        inspected(disk(header(tmp_path / "top", b"gone.img", ((0xE2792ACA, b"raw"),)), "qcow2"))
    assert "layer 2" in refused.value.fault.message
    assert "gone.img" not in refused.value.fault.message
    assert "gone.img" in refused.value.fault.operator


def test_a_chain_ends_where_it_reaches_the_network(tmp_path: Path) -> None:
    top = header(tmp_path / "top", b"rbd:pool/volume", ((0xE2792ACA, b"raw"),))
    found = inspected(disk(top, "qcow2"))
    assert found.chain[1].kind is DiskKind.NETWORK
    assert "rbd" in (graph.obstacle(found) or "")
    assert allocated(found) == 8 * MIB


def test_a_disk_on_the_network_stays_as_it_is() -> None:
    remote = Disk("vda", (Layer("rbd:pool/volume", "raw", DiskKind.NETWORK),), size=5 * MIB)
    assert inspected(remote) == remote


def test_other_formats_are_asked_of_qemu_img(tmp_path: Path) -> None:
    subprocess.run(["qemu-img", "create", "-q", "-f", "vdi", str(tmp_path / "d"), "5M"], check=True, timeout=20)
    assert inspected(disk(tmp_path / "d", "vdi")).size == 5 * MIB
    assert "qemu-img cannot read it" in reason(disk(raw_file(tmp_path / "not"), "vdi"))


def test_encryption_in_headers_is_found_and_keeps_qemus_tools_out(tmp_path: Path) -> None:
    for method, name in ((1, "AES"), (2, "LUKS")):
        found = inspected(disk(header(tmp_path / name, crypt=method), "qcow2"))
        assert found.encryption == name
        assert name in (graph.obstacle(found) or "")
        assert allocated(found) == found.size
    top = header(tmp_path / "top", b"LUKS", ((0xE2792ACA, b"qcow2"),))
    assert inspected(disk(top, "qcow2")).encryption == "LUKS"


def test_a_disk_in_the_luks_format_is_found_and_keeps_qemus_tools_out(tmp_path: Path) -> None:
    slots = b"".join(
        struct.pack(">II32sII", 0xAC71F3 if slot == 0 else 0x0000DEAD, 1000, b"", 8 + slot * 504, 4000)
        for slot in range(8)
    )
    luks = b"LUKS\xba\xbe" + struct.pack(">H32s32s32sII", 1, b"aes", b"xts-plain64", b"sha256", 4096, 64)
    luks += struct.pack(">20s32sI40s", b"", b"", 1000, b"5f0f8a2d-4c3b-4e7a-9d1c-2b3a4f5e6d7c") + slots
    path = tmp_path / "disk"
    path.write_bytes(luks.ljust(3 * MIB, b"\0"))
    found = inspected(disk(path, "luks"))
    assert found.encryption == "LUKS"
    assert found.size == MIB
    assert "LUKS" in (graph.obstacle(found) or "")


def test_allocated_bytes_of_a_sparse_raw_disk(tmp_path: Path) -> None:
    path = raw_file(tmp_path / "disk", 64 * MIB)
    with path.open("r+b") as file:
        for at in (0, 30 * MIB, 63 * MIB):
            file.seek(at)
            file.write(b"x" * MIB)
    assert 3 * MIB <= allocated(inspected(disk(path, "raw"))) < 4 * MIB


def test_allocated_bytes_count_compressed_clusters_in_full(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(b"compressible" * (4 * MIB // 12))
    packed = tmp_path / "packed"
    subprocess.run(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", plain, packed], check=True, timeout=20)
    assert packed.stat().st_blocks * 512 < MIB
    assert allocated(inspected(disk(packed, "qcow2"))) >= 4 * MIB - 65536


def test_allocated_bytes_of_a_chain_are_those_of_all_its_layers(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.write_bytes(b"x" * 2 * MIB)
    top = create(tmp_path / "top", "-b", str(base), "-F", "raw", size="100M")
    subprocess.run(
        ["qemu-io", "-f", "qcow2", "-c", "write 1M 2M", str(top)], check=True, timeout=20, capture_output=True
    )
    assert allocated(inspected(disk(top, "qcow2"))) == 3 * MIB


def test_allocated_bytes_never_exceed_the_disk(tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    odd.write_bytes(b"x" * 1000)
    assert allocated(inspected(disk(odd, "raw"))) == 1000


def test_names_with_commas_quotes_and_blanks_reach_qemu_whole(tmp_path: Path) -> None:
    path = raw_file(tmp_path / 'a,b "c" \\d.img')
    name = graph.filename(inspected(disk(path, "raw")))
    assert json.loads(name.removeprefix("json:"))["file"]["filename"] == str(path)
    subprocess.run(["qemu-img", "measure", "-O", "raw", name], check=True, timeout=20, capture_output=True)
