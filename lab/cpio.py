"""An initramfs archive ("newc" cpio) written without root and without device nodes."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, directory or symbolic link of the archive; `name` has no leading slash."""

    name: str
    mode: int
    data: bytes = b""


def directory(name: str) -> Entry:
    """A directory for everybody to read."""
    return Entry(name, stat.S_IFDIR | 0o755)


def executable(name: str, source: Path) -> Entry:
    """A file that may be run, with the contents of `source`."""
    return Entry(name, stat.S_IFREG | 0o755, source.read_bytes())


def text(name: str, content: str) -> Entry:
    """A plain file."""
    return Entry(name, stat.S_IFREG | 0o644, content.encode())


def link(name: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(name, stat.S_IFLNK | 0o777, target.encode())


def archive(entries: list[Entry]) -> bytes:
    """The whole archive; a directory has to come before what is in it."""
    parts = [_record(number, entry) for number, entry in enumerate(entries, start=1)]
    parts.append(_record(0, Entry("TRAILER!!!", 0)))
    return b"".join(parts)


def _record(inode: int, entry: Entry) -> bytes:
    name = entry.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    numbers = (inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, 0, 0, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % number for number in numbers)
    return _padded(header + name) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
