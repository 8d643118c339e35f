"""The layers of a disk: which files, in which formats. Formats are stated somewhere, never guessed."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from stillframe.disks import graph, header, process
from stillframe.errors.capture import ChainUnknown, ToolFailed
from stillframe.model import Disk, DiskKind, Layer
from stillframe.qcow2header import HeaderError

LONGEST = 256  # layers; QEMU itself becomes unusable far below
MEASURE_TIMEOUT = 60.0  # seconds for reading the metadata of a chain of terabytes from a slow disk
CLUSTER = 1 << 16  # what `qemu-img measure` counts in
PLAIN = {"file": "raw", "host_device": "raw"}  # how old headers state that a backing file has no format


def inspected(disk: Disk) -> Disk:
    """The disk with its whole chain, its size and its encryption, as its definition and its headers state them.

    A chain that reaches the network ends there: such a layer is listed, and nothing below it. Raises ChainUnknown.
    """
    layers: list[Layer] = []
    seen: set[tuple[int, int]] = set()
    size, encryption = disk.size, disk.encryption
    layer: Layer | None = disk.top
    while layer is not None:
        layers.append(layer)
        if layer.kind is DiskKind.NETWORK:
            break
        head = _header(disk, layer, len(layers), seen)
        size = head.size if len(layers) == 1 else size
        encryption = encryption or head.encryption
        # What the definition states goes before the header: the hypervisor opens it that way.
        layer = disk.chain[len(layers)] if len(layers) < len(disk.chain) else _below(disk, layer, head, len(layers))
    return replace(disk, chain=tuple(layers), size=size, encryption=encryption)


def _header(disk: Disk, layer: Layer, number: int, seen: set[tuple[int, int]]) -> header.Header:
    if layer.format not in header.FORMATS:
        reason = (
            f"its format '{layer.format}' is none that can be read" if layer.format else "nothing states its format"
        )
        raise _unknown(disk, number, reason, layer)
    try:
        status = os.stat(layer.path)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in seen or number > LONGEST:
            raise _unknown(disk, number, "the chain comes back to it", layer)
        seen.add((status.st_dev, status.st_ino))
        head = header.read(layer.path, layer.format)
    except OSError as error:
        raise _unknown(disk, number, f"it cannot be read: {error.strerror}", layer) from error
    except HeaderError as error:
        raise _unknown(disk, number, str(error), layer) from error
    except ToolFailed as error:
        raise _unknown(disk, number, "qemu-img cannot read it", layer, error.fault.operator) from error
    if head.data_file:
        raise _unknown(disk, number, "it keeps its data in a separate file (qcow2's data_file)", layer)
    return head


def _below(disk: Disk, layer: Layer, head: header.Header, number: int) -> Layer | None:
    """The backing file that a header names, as a layer."""
    if not head.backing:
        return None
    if not head.backing_format:
        raise _unknown(disk, number, "it names a backing file without stating that one's format", layer)
    format_ = PLAIN.get(head.backing_format, head.backing_format)
    name = head.backing.removeprefix("file:")
    protocol = header.protocol(name)
    if protocol == "json":
        raise _unknown(disk, number, "it names its backing file by a json: description", layer)
    if protocol:
        return Layer(path=name, format=format_, kind=DiskKind.NETWORK)
    path = Path(layer.path).parent / name
    return Layer(path=str(path), format=format_, kind=DiskKind.BLOCK if path.is_block_device() else DiskKind.FILE)


def _unknown(disk: Disk, number: int, reason: str, layer: Layer, words: str = "") -> ChainUnknown:
    operator = f"{layer.path}: {words}" if words else layer.path
    return ChainUnknown(disk=disk.target, reason=f"layer {number}: {reason}", operator=operator)


def allocated(disk: Disk) -> int:
    """Upper bound of the bytes of an inspected disk that hold data now; a running guest adds what it writes."""
    if graph.obstacle(disk):
        return disk.size
    told = process.run(
        ["qemu-img", "measure", "--output=json", "-O", "qcow2", graph.filename(disk)], timeout=MEASURE_TIMEOUT
    )
    measured = json.loads(told)
    whole = -(-disk.size // CLUSTER) * CLUSTER
    return min(disk.size, whole - (int(measured["fully-allocated"]) - int(measured["required"])))
