"""The header of a layer: its size, and the other files that it names."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass

from stillframe import qcow2header
from stillframe.disks import process

# What a layer may be; "dir" and the like would have QEMU make up a disk from anything.
FORMATS = frozenset({"raw", "qcow2", "qcow", "qed", "vmdk", "vdi", "vpc", "vhdx", "parallels", "luks"})
INFO_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Header:
    """What a layer says of itself."""

    size: int  # of the disk inside
    backing: str | None = None  # as written there: absolute, or relative to the layer's directory
    backing_format: str | None = None
    data_file: bool = False
    encryption: str | None = None


def read(path: str, format_: str) -> Header:
    """The header of a local file or device, in one of FORMATS; raises HeaderError, OSError, ToolFailed.

    raw and qcow2 need no process: asking for the disks of a whole host stays cheap.
    """
    if format_ == "raw":
        return Header(size=_length(path))
    if format_ == "qcow2":
        return _qcow2(path)
    return _other(path, format_)


def _length(path: str) -> int:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 -- paths of layers are text throughout
        return file.seek(0, os.SEEK_END)


def _qcow2(path: str) -> Header:
    with open(path, "rb") as file:  # noqa: PTH123
        head = qcow2header.parse(file.read(qcow2header.LONGEST))
    return Header(
        size=head.size,
        backing=head.backing,
        backing_format=head.backing_format,
        data_file=head.data_file is not None,
        encryption=head.encryption,
    )


def _other(path: str, format_: str) -> Header:
    image = {"driver": format_, "file": {"driver": "file", "filename": path, "locking": "off"}}
    told = process.run(["qemu-img", "info", "--output=json", "json:" + json.dumps(image)], timeout=INFO_TIMEOUT)
    info = json.loads(told)
    return Header(
        size=int(info["virtual-size"]),
        backing=info.get("backing-filename"),
        backing_format=info.get("backing-filename-format"),
        encryption="LUKS" if format_ == "luks" else "AES" if info.get("encrypted") else None,
    )


def protocol(name: str) -> str | None:
    """What stands before the colon of a file name that is not a plain path: "rbd", "nbd", "json"."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", name)
    return match[1] if match else None
