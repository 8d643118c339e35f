"""What the bytes of a disk would be taken for by a reader that guesses formats."""

from __future__ import annotations

HEAD = 1 << 20  # bytes from the start that `danger` wants to see: further than any format's signature


def danger(head: bytes, declared: str = "raw") -> str | None:
    """What is found in the first HEAD bytes of an image that says it is `declared`, in words; None: harmless.

    raw: any image format, with the backing or data files that it names. qcow2: a backing or data file.
    Partition tables, ISO 9660 and LUKS made by the guest are harmless.
    """
    raise NotImplementedError
