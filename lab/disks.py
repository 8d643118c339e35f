"""Disks for test guests: raw, qcow2, chains, loop devices, and one that boots by itself."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.guest import COMMAND_LINE, GuestSystem
from lab.tools import succeeds, tool

MIB = 1 << 20
Files = Mapping[str, str | bytes | Path]  # name in the filesystem, with * for what may be run -> contents
PARTITION = MIB  # where the filesystem of a disk with a partition table begins


@dataclass(frozen=True, slots=True)
class RbdPlace:
    """How QEMU reaches the Ceph cluster of a disk."""

    monitors: tuple[str, ...]  # host:port
    user: str
    key: str


@dataclass(frozen=True, slots=True)
class GuestDisk:
    """A disk as a domain gets it."""

    path: Path  # of a network disk: pool/image
    format: str
    kind: str = "file"  # libvirt's disk type: file, block or network
    target: str = "vda"
    error_policy: str | None = None
    read_only: bool = False
    serial: str | None = None
    cache: str = "none"  # as Nova and virt-manager set it where the filesystem has O_DIRECT
    rbd: RbdPlace | None = None  # of a network disk


def filesystem(path: Path, size: int, files: Files | None = None) -> Path:
    """A raw image of `size` bytes that is one ext4 filesystem with these files."""
    with path.open("xb") as file:
        file.truncate(size)
    seed = path.with_name(f"{path.name}.seed")
    _seed(seed, files or {})
    tool("mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,nodiscard", "-d", seed, path)
    shutil.rmtree(seed)
    return path


def raw(path: Path, size: int, files: Files | None = None) -> GuestDisk:
    """A raw disk with an ext4 filesystem."""
    return GuestDisk(filesystem(path, size, files), "raw")


def qcow2(path: Path, size: int, files: Files | None = None) -> GuestDisk:
    """A qcow2 disk with an ext4 filesystem."""
    return as_qcow2(raw(path.with_suffix(".plain"), size, files), path)


def as_qcow2(disk: GuestDisk, path: Path) -> GuestDisk:
    """The same contents as a qcow2 file; the raw one is removed."""
    tool("qemu-img", "convert", "-f", disk.format, "-O", "qcow2", disk.path, path, timeout=300)
    disk.path.unlink()
    return GuestDisk(path, "qcow2")


def overlay(path: Path, backing: GuestDisk) -> GuestDisk:
    """An empty qcow2 layer over another disk, whose format it states."""
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", backing.path, "-F", backing.format, path)
    return GuestDisk(path, "qcow2")


def chain(path: Path, size: int, files: Files | None = None) -> GuestDisk:
    """Three layers: a raw base with the filesystem, two qcow2 layers over it; the middle one holds some data."""
    base = raw(path.with_name(f"{path.stem}.base"), size, files)
    middle = overlay(path.with_name(f"{path.stem}.middle"), base)
    tool("qemu-io", "-f", "qcow2", "-c", f"write -P 0x5a {size - MIB} 64k", middle.path)
    return overlay(path, middle)


@contextmanager
def loop(disk: GuestDisk) -> Iterator[GuestDisk]:
    """A block device over a raw disk."""
    device = tool("losetup", "--find", "--show", disk.path).strip()
    try:
        yield GuestDisk(Path(device), "raw", kind="block", target=disk.target)
    finally:
        tool("losetup", "--detach", device)


def bootable(path: Path, size: int, system: GuestSystem, files: Files | None = None) -> GuestDisk:
    """A raw disk that boots by itself through the BIOS: GRUB, then one ext4 partition at 1 MiB. Needs no root."""
    early = path.with_name(f"{path.name}.grub")
    early.write_text(
        f"set root=(hd0,msdos1)\nlinux /boot/vmlinuz {COMMAND_LINE} lab.disk=/dev/vda1\ninitrd /boot/initrd\nboot\n"
    )
    core = path.with_name(f"{path.name}.core")
    modules = ("biosdisk", "part_msdos", "ext2", "linux", "boot")
    tool("grub-mkimage", "-O", "i386-pc", "-o", core, "-p", "/boot", "-c", early, *modules)
    with path.open("xb") as file:
        file.truncate(size)
        file.write(_boot_sector(size))
        file.write(core.read_bytes())
        if file.tell() > PARTITION:
            raise RuntimeError("GRUB does not fit before the partition")
    seed = path.with_name(f"{path.name}.seed")
    _seed(seed, {"boot/vmlinuz": system.vmlinuz, "boot/initrd": system.initrd, **(files or {})})
    blocks = str((size - PARTITION) // 4096)
    tool(
        "mkfs.ext4",
        "-q",
        "-F",
        "-b",
        "4096",
        "-d",
        seed,
        "-E",
        f"offset={PARTITION},lazy_itable_init=0,nodiscard",
        path,
        blocks,
    )
    shutil.rmtree(seed)
    early.unlink()
    core.unlink()
    return GuestDisk(path, "raw")


def _boot_sector(size: int) -> bytes:
    boot = bytearray(Path("/usr/lib/grub/i386-pc/boot.img").read_bytes())
    boot[0x66:0x68] = b"\x90\x90"  # as grub-setup does: without the jump that keeps a fixed boot drive
    entry = struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", PARTITION // 512,
                        (size - PARTITION) // 512)  # fmt: skip
    boot[0x1B8:0x1BE] = struct.pack("<IH", 0x53464C42, 0)
    boot[0x1BE:0x1FE] = entry + bytes(48)
    boot[0x1FE:0x200] = b"\x55\xaa"
    return bytes(boot)


def _seed(directory: Path, files: Files) -> None:
    directory.mkdir()
    for name, content in files.items():
        path = directory / name.rstrip("*")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            shutil.copyfile(content, path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(0o755 if name.endswith("*") else 0o644)


def plain(disk: GuestDisk, target: Path) -> Path:
    """An independent raw copy of the whole chain, made by qemu-img; the disk must not be in use by a writer."""
    tool("qemu-img", "convert", "-U", "-f", disk.format, "-O", "raw", disk.path, target, timeout=300)
    return target


def same(one: GuestDisk, other: GuestDisk) -> bool:
    """Whether two disks read the same, by qemu-img; a difference in length that reads as zeros does not count."""
    formats = ("-f", one.format, "-F", other.format)
    return succeeds(["qemu-img", "compare", "-U", *formats, one.path, other.path], timeout=300)


def information(path: Path, form: str) -> dict[str, object]:
    """`qemu-img info` of one layer."""
    result: dict[str, object] = json.loads(tool("qemu-img", "info", "-U", "--output=json", "-f", form, path))
    return result
