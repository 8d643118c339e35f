"""What the file of an image consists of, known before its first byte is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Metadata:
    """Bytes of the format's own, at this offset of the file."""

    target: int
    data: bytes

    @property
    def length(self) -> int:
        return len(self.data)


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of the disk, from this offset of the disk to that offset of the file; of any length."""

    source: int
    target: int
    length: int


Piece = Metadata | Data


class Layout(Protocol):
    """An image file. Pieces never overlap; what lies between them, and behind the last, reads as zeros."""

    @property
    def format(self) -> str:
        """The format as QEMU names it."""

    @property
    def length(self) -> int:
        """Bytes of the whole file."""

    @property
    def virtual_size(self) -> int:
        """Bytes of the disk inside."""

    @property
    def hole_bytes(self) -> int:
        """Bytes of the file that no piece covers."""

    def pieces(self) -> Iterator[Piece]:
        """All pieces in ascending order of `target`, made as they are asked for; can be called again."""
