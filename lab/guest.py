"""The test guest: Debian's cloud kernel and an initramfs of busybox, qemu-ga and the virtio modules.

It is built from packages that are downloaded and unpacked, never installed, and kept in .cache/lab/guest. What the
guest says on its serial console is described in guestfiles/init and guestfiles/blockwriter.c.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab import cpio
from lab.tools import CACHE, ROOT, environment, locked, tool

FILES = ROOT / "lab" / "guestfiles"
KERNEL_PACKAGE = "linux-image-cloud-amd64"
AGENT_PACKAGE = "qemu-guest-agent"
MODULES = (  # in the order of their dependencies; ext4 is built in
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci",
    "drivers/block/virtio_blk",
    "drivers/char/virtio_console",
)
FOLDERS = ("bin", "dev", "proc", "sys", "mnt", "mod", "etc", "var", "var/run", "run", "tmp", "lib",
           "lib/x86_64-linux-gnu", "lib64")  # fmt: skip
COMMAND_LINE = (
    "console=ttyS0 quiet panic=1 nokaslr no_timer_check cryptomgr.notests 8250.nr_uarts=1 mitigations=off tsc=reliable"
)


@dataclass(frozen=True, slots=True)
class GuestSystem:
    """What a guest boots from."""

    kernel: Path  # vmlinux, for direct boot (PVH)
    vmlinuz: Path  # for boot loaders
    initrd: Path


def guest_system() -> GuestSystem:
    """The guest's kernel and initramfs, built when missing or when its sources have changed."""
    with locked(CACHE / "guest.lock"):
        packages = _packages()
        key = _key(packages)
        done = CACHE / f"guest-{key}"
        if not done.exists():
            CACHE.mkdir(parents=True, exist_ok=True)
            building = Path(tempfile.mkdtemp(prefix="guest-building-", dir=CACHE))
            try:
                _build(building, packages)
                building.chmod(0o755)
                building.rename(done)
            finally:
                shutil.rmtree(building, ignore_errors=True)
    return GuestSystem(done / "vmlinux", done / "vmlinuz", done / "initrd")


# -------------------------------------------------------------------------------------------------------- packages


def _packages() -> tuple[Path, ...]:
    """The downloaded packages; they stay until .cache is removed."""
    directory = CACHE / "packages"
    have = tuple(sorted(directory.glob("*.deb")))
    if len(have) == 2:
        return have
    directory.mkdir(parents=True, exist_ok=True)
    for old in have:
        old.unlink()
    depends = tool("apt-cache", "depends", "--important", KERNEL_PACKAGE)
    kernel = re.search(r"Depends: (linux-image-\S+-cloud-amd64)", depends)
    if kernel is None:
        raise RuntimeError(f"apt knows no kernel for {KERNEL_PACKAGE}; run apt-get update")
    tool("apt-get", "download", "-q", kernel[1], AGENT_PACKAGE, cwd=directory, timeout=300)
    return tuple(sorted(directory.glob("*.deb")))


def _key(packages: tuple[Path, ...]) -> str:
    """Changes when a package or one of our own files does."""
    digest = hashlib.sha256()
    for package in packages:
        digest.update(package.name.encode())
    for source in sorted([*FILES.iterdir(), Path(__file__), Path(cpio.__file__)]):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


# ----------------------------------------------------------------------------------------------------------- build


def _build(directory: Path, packages: tuple[Path, ...]) -> None:
    unpacked = directory / "unpacked"
    for package in packages:
        tool("dpkg-deb", "-x", package, unpacked, timeout=120)
    vmlinuz = next((unpacked / "boot").glob("vmlinuz-*"))
    (directory / "vmlinux").write_bytes(_vmlinux(vmlinuz.read_bytes()))
    shutil.copyfile(vmlinuz, directory / "vmlinuz")
    writer = directory / "blockwriter"
    tool("gcc", "-static", "-O2", "-Wall", "-Werror", "-s", "-o", writer, FILES / "blockwriter.c", "-lm")
    (directory / "initrd").write_bytes(cpio.archive(_entries(unpacked, writer)))
    shutil.rmtree(unpacked)


def _vmlinux(vmlinuz: bytes) -> bytes:
    """The ELF image inside a bzImage; the boot header says where it is (Documentation/arch/x86/boot.rst)."""
    setup_sectors = vmlinuz[0x1F1]
    offset, length = struct.unpack_from("<II", vmlinuz, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = vmlinuz[start : start + length - 4]  # the last four bytes are the unpacked size
    if not payload.startswith(b"\x02\x21\x4c\x18"):
        raise RuntimeError("the kernel is not packed with LZ4")
    done = subprocess.run(["lz4", "-dc"], input=payload, capture_output=True, check=True, timeout=60, env=environment())
    return done.stdout


def _entries(unpacked: Path, writer: Path) -> list[cpio.Entry]:
    """Everything in the initramfs."""
    agent = unpacked / "usr/sbin/qemu-ga"
    entries = [cpio.directory(name) for name in FOLDERS]
    entries += [
        cpio.executable("init", FILES / "init"),
        cpio.executable("bin/busybox", Path("/bin/busybox")),
        cpio.executable("bin/qemu-ga", agent),
        cpio.executable("bin/blockwriter", writer),
        cpio.executable("lib64/ld-linux-x86-64.so.2", Path("/lib64/ld-linux-x86-64.so.2")),
    ]
    applets = tool("/bin/busybox", "--list").split()
    entries += [cpio.link(f"bin/{name}", "busybox") for name in applets if name != "busybox"]
    for path in sorted(set(re.findall(r"=> (/\S+)", tool("ldd", agent)))):
        entries.append(cpio.executable(f"lib/x86_64-linux-gnu/{Path(path).name}", Path(path)))
    modules = next((unpacked / "lib/modules").iterdir()) / "kernel"
    entries += [cpio.executable(f"mod/{Path(name).name}.ko", modules / f"{name}.ko") for name in MODULES]
    entries.append(cpio.text("mod/order", "".join(f"{Path(name).name}\n" for name in MODULES)))
    return entries


if __name__ == "__main__":
    sys.stdout.write(f"guest: {guest_system().kernel.parent}\n")
