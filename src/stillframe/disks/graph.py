"""A disk as QEMU's tools are told to open it: every layer and every format stated, nothing looked up by them."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from stillframe.model import Disk, DiskKind, Layer

# Linux AIO is a tenth faster than threads at half their processor time, but the kernel's requests for it are limited
# for the whole host; QEMU takes 1024 a process.
NATIVE_REQUESTS = 4096


def filename(disk: Disk) -> str:
    """An inspected disk as a "json:" file name, read-only; raises OSError when a layer is not there.

    No layer is locked: a lock on a qcow2 file would forbid the start of its domain, and the domain goes first.
    """
    aio = "native" if _native_room() >= NATIVE_REQUESTS else "threads"
    graph: dict[str, Any] | None = None
    for layer in reversed(disk.chain):
        graph = _node(layer, graph, aio)
    return "json:" + json.dumps(graph)


def obstacle(disk: Disk) -> str | None:
    """Why QEMU's tools cannot open the (inspected) disk here, in words; None: they can."""
    for layer in disk.chain:
        if layer.kind is DiskKind.NETWORK:
            return f"its layer {layer.path.partition(':')[0]} is not on this host"
        if layer.format == "luks":
            return "only the domain's own QEMU has the secret of its LUKS layer"
    if disk.encryption and disk.encryption.startswith(("LUKS", "AES")):
        return f"only the domain's own QEMU has the secret of its encryption ({disk.encryption})"
    return None


def _node(layer: Layer, backing: dict[str, Any] | None, aio: str) -> dict[str, Any]:
    device = stat.S_ISBLK(os.stat(layer.path).st_mode)  # noqa: PTH116
    direct = _takes_direct(layer.path)
    node: dict[str, Any] = {
        "driver": layer.format,
        "read-only": True,
        "file": {
            "driver": "host_device" if device else "file",
            "filename": layer.path,
            "read-only": True,
            "locking": "off",
            "aio": aio if direct else "threads",
            "cache": {"direct": direct},
        },
    }
    if layer.format in ("qcow2", "qed", "qcow", "vmdk"):
        node["backing"] = backing  # stated also when there is none: the header is not asked again
    return node


def _native_room() -> int:
    """How many more Linux AIO requests the kernel grants; a host with many busy guests may have used them up."""
    used, limit = (int(Path(f"/proc/sys/fs/{name}").read_text()) for name in ("aio-nr", "aio-max-nr"))
    return limit - used


def _takes_direct(path: str) -> bool:
    """Whether the filesystem reads around the page cache, so that the copy pushes nothing out of it."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC))
    except OSError as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        return False
    return True
