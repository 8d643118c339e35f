"""What the benchmarks find: figures, what they are held against, the targets, the file and the table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal, Self


@dataclass(frozen=True, slots=True)
class Result:
    """One case: our figure, another one, and how many runs stand behind both."""

    case: str
    ours: float
    other: float
    ratio: float
    unit: str
    runs: int
    against: str  # what the other figure is

    @classmethod
    def of(cls, case: str, ours: Sequence[float], other: Sequence[float], unit: str, against: str) -> Self:
        """Medians of both, and of the ratios within each run."""
        ratios = [one / two if two else 0.0 for one, two in zip(ours, other, strict=True)]
        return cls(case, median(ours), median(other), median(ratios), unit, len(ours), against)

    def row(self) -> dict[str, str | float | int]:
        """As it stands in results.json."""
        return {
            "case": self.case,
            "ours": round(self.ours, 3),
            "other": round(self.other, 3),
            "ratio": round(self.ratio, 3),
            "unit": self.unit,
            "runs": self.runs,
        }


@dataclass(frozen=True, slots=True)
class Target:
    """A figure of a result may be at most so much."""

    figure: Literal["ours", "other", "ratio"]
    most: float

    def holds(self, result: Result) -> bool:
        """Whether the result keeps to it."""
        value: float = getattr(result, self.figure)
        return value <= self.most

    def __str__(self) -> str:
        return f"{self.figure} <= {self.most:g}"


TARGETS: dict[str, tuple[Target, ...]] = {
    "live-vs-nova": (Target("ratio", 0.30),),
    "live-device-bytes-vs-data": (Target("ratio", 1.05),),
    "live-temp-bytes": (Target("ours", 0),),
    "live-frozen-ms": (Target("ours", 80),),
    "live-guest-p99-vs-baseline": (Target("ratio", 2.5),),
    "live-guest-p99-vs-nova": (Target("ratio", 1),),
    "sparse-1tib-vs-8gib": (Target("ratio", 1.3),),
    "service-memory-mib": (Target("ours", 200),),
    "reflink-live-s": (Target("ours", 0.5), Target("other", 0.5)),
    "reflink-stopped-guest-ms": (Target("ours", 100),),
    "ceph-stream-vs-qemu-img": (Target("ratio", 1.11),),  # 0.9 of its speed
    "ceph-stream-vs-nbdcopy": (Target("ratio", 1.11),),
    "ceph-import-vs-qemu-img": (Target("ratio", 1.11),),
    "ceph-md5-vs-hash-alone": (Target("ratio", 1),),
    "ceph-clone-100gib-vs-1gib": (Target("ratio", 1.2),),
    "ceph-clone-s": (Target("ours", 1), Target("other", 1)),
    "ceph-clone-vs-nova": (Target("ratio", 1),),
    "controller-heartbeat-unchanged-ms": (Target("ours", 5),),
    "glance-capture-vs-curl": (Target("ratio", 1.15),),
    "glance-capture-vs-nova-way": (Target("ratio", 1),),
    "cloud-create-image-p50-ms": (Target("ratio", 1),),
    "cloud-create-image-p99-ms": (Target("ratio", 1),),
}


def write(path: Path, results: Iterable[Result]) -> None:
    """The file of all results, a list of objects."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([result.row() for result in results], indent=1) + "\n")


def table(results: Iterable[Result]) -> str:
    """The results for a reader."""
    lines = [f"{'case':34} {'ours':>9} {'other':>9} {'':4} {'ratio':>6}  {'target':40} against"]
    for result in results:
        figures = f"{_short(result.ours):>9} {_short(result.other):>9} {result.unit:4} {result.ratio:6.2f}"
        lines.append(f"{result.case:34} {figures}  {_verdict(result):40} {result.against}")
    return "\n".join(lines)


def _verdict(result: Result) -> str:
    targets = TARGETS.get(result.case, ())
    if not targets:
        return "-"
    kept = all(target.holds(result) for target in targets)
    return f"{' and '.join(map(str, targets))}: {'holds' if kept else 'MISSED'}"


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}"
