"""What blockwriter left on a disk: which numbered blocks an image holds, read from outside without a mount."""

from __future__ import annotations

import re
import shutil
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab.disks import PARTITION
from lab.tools import succeeds, tool

BLOCK = 4096
SLOTS = 2048  # 8 MiB
FILE = "blocks"
MAGIC = b"SFBLOCK1"
MASK = (1 << 64) - 1


class Torn(AssertionError):  # noqa: N818 - reads as what it says
    """The blocks of an image are not those of one instant."""


def autorun(
    *, slots: int = SLOTS, check: bool = True, pause_us: int = 0, report_ms: int | None = None
) -> dict[str, str]:
    """The file that makes a guest write numbered blocks from its boot on; for the factories in lab.disks."""
    words = f"/mnt/{FILE} {slots}{' check' if check else ''}{f' pause={pause_us}' if pause_us else ''}"
    words += f" every={report_ms}" if report_ms else ""
    return {"autorun*": f"#!/bin/sh\nexec blockwriter {words} >/dev/console 2>&1\n"}


@dataclass(frozen=True, slots=True)
class Written:
    """The newest block of an image; it and the `slots - 1` before it are there, so nothing of 1..last was lost."""

    last: int
    slots: int


def written(image: Path, *, slots: int = SLOTS, partitioned: bool = False) -> Written:
    """The blocks on a raw image's filesystem; raises Torn unless they are an unbroken prefix of what was written.

    A file that has gone round holds the newest `slots` numbers. Block `last + 1` may have been under way: it was never
    acknowledged, so its slot may hold it in part.
    """
    return prefix(extracted(image, partitioned=partitioned), slots)


def extracted(image: Path, *, partitioned: bool = False) -> bytes:
    """The file of blocks, read by debugfs from the filesystem of a raw image."""
    with tempfile.TemporaryDirectory(dir=image.parent) as directory:
        if _needs_recovery(image, partitioned=partitioned):  # as a mount would: replay the journal, on a copy
            image = Path(shutil.copyfile(image, Path(directory) / "replayed"))
            tool("e2fsck", "-y", "-E", "journal_only", _address(image, partitioned=partitioned))
        target = Path(directory) / FILE
        tool("debugfs", "-R", f"dump /{FILE} {target}", _address(image, partitioned=partitioned))
        if not target.exists():
            raise Torn(f"there is no /{FILE} in {image}")
        return target.read_bytes()


def prefix(data: bytes, slots: int) -> Written:
    """Checks the file's contents; see written()."""
    numbers = [_number(data[place : place + BLOCK]) for place in range(0, slots * BLOCK, BLOCK)]
    last = max(numbers, default=0)
    for slot, number in enumerate(numbers):
        rounds = (last - 1 - slot) // slots if last > slot else -1
        expected = slot + 1 + rounds * slots if rounds >= 0 else 0
        under_way = slot == last % slots and number == 0
        if number != expected and not under_way:
            raise Torn(f"slot {slot} holds block {number}, not {expected}; the newest block is {last}")
    return Written(last, slots)


def block(number: int) -> bytes:
    """Block `number` as blockwriter writes it."""
    pattern = [(number * 2654435761 + index) & MASK for index in range(BLOCK // 8)]
    words = [int.from_bytes(MAGIC, "little"), number, 0, *pattern[3:]]
    words[2] = _checksum(words)
    return struct.pack("<512Q", *words)


def _number(data: bytes) -> int:
    """The number of a whole block, 0 for anything else."""
    number = int.from_bytes(data[8:16], "little")
    return number if data.startswith(MAGIC) and data == block(number) else 0


def _checksum(words: list[int]) -> int:
    value = 14695981039346656037
    for index, word in enumerate(words):
        if index != 2:
            value = ((value ^ word) * 1099511628211) & MASK
    return value


def clean(image: Path, *, partitioned: bool = False) -> bool:
    """Whether e2fsck finds nothing to mend, not even a journal to replay, in a raw image; it is not changed."""
    return succeeds(["e2fsck", "-fn", _address(image, partitioned=partitioned)]) and not _needs_recovery(
        image, partitioned=partitioned
    )


def _needs_recovery(image: Path, *, partitioned: bool) -> bool:
    header = tool("dumpe2fs", "-h", _address(image, partitioned=partitioned))
    return "needs_recovery" in header


def _address(image: Path, *, partitioned: bool) -> str:
    return f"{image}?offset={PARTITION}" if partitioned else str(image)


# ------------------------------------------------------------------------------------------- what the writer says

LINE = re.compile(r"LAB writer n=(\d+) longest_us=(\d+) ever_us=(\d+) at_ms=(\d+) hist=(\S*)\n")


@dataclass(frozen=True, slots=True)
class Report:
    """One second of the writer (or what report_ms says), as it said it on the serial console."""

    last: int
    longest: float  # seconds that the longest write of this second took
    ever: float  # seconds that the longest write since the start took
    at: float  # seconds of the guest's monotonic clock
    histogram: dict[int, int]  # bucket -> writes; a bucket b holds times below 2^((b+1)/4) microseconds


def reports(serial: str) -> list[Report]:
    """What the writer has said so far."""
    return [_report(match) for match in LINE.finditer(serial)]


def _report(match: re.Match[str]) -> Report:
    last, longest, ever, at = (int(word) for word in match.groups()[:4])
    pairs = (pair.split(":") for pair in match[5].strip(",").split(",") if pair)
    return Report(last, longest / 1e6, ever / 1e6, at / 1e3, {int(bucket): int(count) for bucket, count in pairs})


def complaints(serial: str) -> list[str]:
    """Lost writes and write errors that the guest has noticed itself."""
    return re.findall(r"LAB writer (?:lost|error)=.*", serial)


def percentile(said: list[Report], share: float) -> float:
    """Seconds below which `share` of the writes of these reports stayed.

    Within a bucket, a quarter of a power of two, they are taken to lie evenly.
    """
    counts: dict[int, int] = {}
    for report in said:
        for bucket, count in report.histogram.items():
            counts[bucket] = counts.get(bucket, 0) + count
    wanted = share * sum(counts.values())
    for bucket in sorted(counts):
        if wanted <= counts[bucket]:
            return float(2 ** ((bucket + wanted / counts[bucket]) / 4) / 1e6)
        wanted -= counts[bucket]
    raise ValueError("no writes were reported")
