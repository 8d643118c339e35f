"""The header of a qcow2 file, from its bytes; no tool has to open a file that may have been made to hurt it."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

MAGIC = b"QFI\xfb"
LONGEST = 1 << 21  # bytes: the header ends within the first cluster, and clusters are at most this long
BACKING_FORMAT, DATA_FILE = 0xE2792ACA, 0x44415441  # types of header extensions
INCOMPATIBLE_DATA_FILE, INCOMPATIBLE_EXTENDED_L2 = 1 << 2, 1 << 4
CRYPT_METHODS = {1: "AES", 2: "LUKS"}


class HeaderError(ValueError):
    """The bytes do not begin as a qcow2 file, or contradict themselves."""


@dataclass(frozen=True, slots=True)
class L1Table:
    """The topmost of the tables that say where data lies."""

    offset: int  # in the file
    entries: int  # of 8 bytes; 0: nothing in the whole range
    covers: int  # bytes of the disk, one entry


@dataclass(frozen=True, slots=True)
class Qcow2Header:
    """What a qcow2 file says of itself."""

    size: int  # bytes of the disk inside
    backing: str | None  # as written there: absolute, relative to the file's directory, or with a protocol
    backing_format: str | None
    data_file: str | None  # "" when it is used and not named
    encryption: str | None  # LUKS, AES
    snapshots: int  # internal ones
    l1: L1Table


def parse(head: bytes) -> Qcow2Header:
    """The header in the first bytes of a file (LONGEST of them suffice, a cluster is needed); raises HeaderError."""
    head = head.ljust(104, b"\0")
    magic, version, backing_at, backing_length, cluster_bits, size, crypt, entries, l1 = struct.unpack_from(
        ">4sIQIIQIIQ", head
    )
    if magic != MAGIC or version not in (2, 3) or not 9 <= cluster_bits <= 21:
        raise HeaderError("it is said to be qcow2, and does not begin as one")
    features, *_, header_length = struct.unpack_from(">QQQII", head, 72) if version == 3 else (0, 72)
    cluster = head[: 1 << cluster_bits]
    extensions = _extensions(cluster, header_length, backing_at or len(cluster))
    data_file = extensions.get(DATA_FILE, b"" if features & INCOMPATIBLE_DATA_FILE else None)
    return Qcow2Header(
        size=size,
        backing=_backing(cluster, backing_at, backing_length) if backing_at else None,
        backing_format=_text(extensions.get(BACKING_FORMAT)) or None,
        data_file=_text(data_file),
        encryption=CRYPT_METHODS.get(crypt, f"method {crypt}") if crypt else None,
        snapshots=struct.unpack_from(">I", head, 60)[0],
        l1=L1Table(l1, entries, (1 << 2 * cluster_bits) // (16 if features & INCOMPATIBLE_EXTENDED_L2 else 8)),
    )


def _backing(cluster: bytes, at: int, length: int) -> str:
    if length > 1023 or at + length > len(cluster):
        raise HeaderError("the name of its backing file lies outside of its header")
    return os.fsdecode(cluster[at : at + length])


def _extensions(cluster: bytes, at: int, end: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while at + 8 <= min(end, len(cluster)):
        kind, length = struct.unpack_from(">II", cluster, at)
        if kind == 0:
            break
        at += 8
        if at + length > len(cluster):
            raise HeaderError("its header extensions do not end")
        found[kind] = cluster[at : at + length]
        at += (length + 7) & ~7
    return found


def _text(name: bytes | None) -> str | None:
    return None if name is None else os.fsdecode(name)
