"""What the bytes of a disk would be taken for by a reader that guesses formats.

Two opinions: QEMU's own signatures, since QEMU is what would open the host's files, and oslo.utils' inspectors, which
Glance uses. Each sees things that the other does not.
"""

from __future__ import annotations

import io
import re

from oslo_utils.imageutils import format_inspector

from stillframe import qcow2header

HEAD = 1 << 20  # bytes from the start that `danger` wants to see: further than any format's signature
SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, qcow2header.MAGIC, "qcow2"),
    (0, b"QED\0", "QED"),
    (0, b"KDMV", "VMDK"),
    (0, b"COWD", "VMDK"),
    (0, b"vhdxfile", "VHDX"),
    (0, b"conectix", "VHD"),
    (0x40, b"\x7f\x10\xda\xbe", "VDI"),
    (0, b"WithoutFreeSpace", "Parallels"),
    (0, b"WithouFreSpacExt", "Parallels"),
    (0, b"Bochs Virtual HD Image", "Bochs"),
    (0, b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop", "cloop"),
)
HARMLESS = frozenset({"raw", "gpt", "iso", "luks"})  # oslo.utils calls an MBR gpt as well
PROBED = 512  # bytes that QEMU looks at
LONGEST_NAME = 200  # characters of a guest's file name worth repeating


def danger(head: bytes, declared: str = "raw") -> str | None:
    """What is found in the first HEAD bytes of an image that says it is `declared`, in words; None: harmless.

    raw: any image format, with the backing or data files that it names. qcow2: a backing or data file.
    Partition tables, ISO 9660 and LUKS made by the guest are harmless.
    """
    if declared == "qcow2":
        files = _qcow2_files(head)
        return f"a qcow2 header{files}" if files else None
    found = _by_signature(head)
    if found is None:
        return _by_inspectors(head)
    if found == "qcow2":
        return f"a qcow2 header{_qcow2_files(head)}"
    if found == "VMDK":
        return f"a VMDK header{_vmdk_files(head)}"
    return f"a {found} header"


def _by_signature(head: bytes) -> str | None:
    for at, signature, name in SIGNATURES:
        if head[at : at + len(signature)] == signature:
            return name
    return "VMDK" if _is_vmdk_text(head) else None


def _is_vmdk_text(head: bytes) -> bool:
    """A VMDK descriptor is text: comments, blank lines, then the version. What follows does not matter to QEMU."""
    for line in head[:PROBED].split(b"\n"):
        word = line.strip()
        if word and not word.startswith(b"#"):
            return word.startswith(b"version=")
    return False


def _by_inspectors(head: bytes) -> str | None:
    wrapper = format_inspector.InspectWrapper(io.BytesIO(head))
    wrapper.read(len(head))
    wrapper.close()
    names = sorted(str(inspector) for inspector in wrapper.formats or () if str(inspector) not in HARMLESS)
    return f"a {' and '.join(names)} header" if names else None


def _qcow2_files(head: bytes) -> str:
    try:
        header = qcow2header.parse(head)
    except qcow2header.HeaderError:
        return " that is damaged"
    files = []
    if header.backing is not None:
        files.append(f"the backing file {_shown(header.backing)}")
    if header.data_file is not None:
        files.append(f"the data file {_shown(header.data_file)}".rstrip())
    return f" with {' and '.join(files)}" if files else ""


def _vmdk_files(head: bytes) -> str:
    names = re.findall(rb'^\s*(?:RW|RDONLY|NOACCESS)\s.*?"([^"\n]+)"', head, re.MULTILINE | re.IGNORECASE)
    return f" with the data file {_shown(names[0].decode(errors='replace'))}" if names else ""


def _shown(name: str) -> str:
    """A guest's bytes, fit for a sentence."""
    return "".join(char if char.isprintable() else "?" for char in name[:LONGEST_NAME])
