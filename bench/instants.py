"""For how long a guest stands frozen: many instants in a row, since one of them says little."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from bench.ground import POLL, remove_images
from bench.quiet import Share
from lab import captures
from lab.domains import Guest
from lab.service import Service
from lab.wait import until

COUNT = 5


@dataclass(frozen=True, slots=True)
class Instants:
    """So many."""

    each: tuple[float, ...]  # milliseconds
    disturbed: float

    @property
    def frozen_ms(self) -> float:
        """Half of them took no longer."""
        return median(self.each)

    def __str__(self) -> str:
        return "frozen " + ", ".join(f"{one:.0f}" for one in self.each) + " ms"


def instants(frozen_ms: Callable[[], float]) -> Instants:
    """As many as it takes."""
    share = Share()
    return Instants(tuple(frozen_ms() for _ in range(COUNT)), share.taken())


def of_capture(service: Service, guest: Guest) -> float:
    """For how many milliseconds the guest was frozen for a capture, which is cancelled as soon as bytes move."""
    capture = captures.begin(service, guest)
    until(
        lambda: captures.record(service, capture)["progress"]["bytes_done"],
        captures.DEADLINE, f"bytes of capture {capture} to move", pause=POLL,
    )  # fmt: skip
    service.request("DELETE", f"/v2.1/captures/{capture}")
    ended = captures.ended(service, capture)
    if ended["status"] == "completed":  # there was so little to move
        remove_images(service, ended)
    frozen_ms: float = ended["frozen_ms"]
    return frozen_ms
