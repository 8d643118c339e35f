"""Filesystems of their own for a test: small, full, able to share blocks or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lab.libvirtd import PrivateLibvirtd
from lab.tools import succeeds, tool
from lab.wait import until

MAKERS = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-m", "0"),
    "xfs": ("mkfs.xfs", "-q", "-f", "-m", "reflink=1"),
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
}  # xfs needs 300 MiB, btrfs 114 MiB


@contextmanager
def mounted(kind: str, where: Path, size: int, *hosts: PrivateLibvirtd) -> Iterator[Path]:
    """A new filesystem of `size` bytes mounted at `where` (made), here and in the namespaces of `hosts`.

    The guests that use it must be gone at the end. Its bytes lie in a sparse file beside `where`.
    """
    file = where.with_name(f"{where.name}.{kind}")
    with file.open("xb") as image:
        image.truncate(size)
    tool(*MAKERS[kind], file)
    where.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        device = tool("losetup", "--find", "--show", file).strip()
        stack.callback(tool, "losetup", "--detach", device)
        tool("mount", device, where)
        stack.callback(unmount, where)
        for host in hosts:
            host.run_inside("mount", device, where)
            stack.callback(unmount, where, host)
        where.chmod(0o755)
        yield where
    file.unlink()


def unmount(where: Path, host: PrivateLibvirtd | None = None) -> None:
    """Also while a process that is just ending still has a file open."""
    inside = () if host is None else host.inside
    until(lambda: succeeds([*inside, "umount", where]), 10, f"the end of what uses {where}", pause=0.1)
