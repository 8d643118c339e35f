"""What the guard is asked to watch: the process that gives the guest back when the agent cannot."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

REPORTED = "QEMU reported an I/O error to the guest"  # a cause in the words of `acted`


class ArmKind(StrEnum):
    """What the guard does when it acts."""

    THAW = "thaw"
    RESUME = "resume"
    ABORT = "abort"  # a backup job; and resumes the guest if libvirt paused it for want of scratch


@dataclass(frozen=True, slots=True)
class Arm:
    """One thing that the guard gives back: THAW and RESUME at once when the agent dies, ABORT when it stays dead."""

    key: str
    kind: ArmKind
    instance_id: str
    run: str  # the guard acts on this run of the domain only
    seconds: float | None = None  # acts after so long even if the agent lives; None: never by time
    socket: str | None = None  # of the backup job: proves that it is ours
    scratch: tuple[str, ...] = ()
    cap: int = 0  # bytes of scratch together; 0: no cap
    reserve: int = 0  # bytes that stay free on the scratch filesystem


class Guard(Protocol):
    """The agent's side of it; agent/guardlink.py has the real one."""

    def arm(self, arm: Arm) -> None:
        """Returns once the guard watches; raises GuardUnavailable."""

    def disarm(self, key: str) -> bool:
        """Ends the watch; False when the guard has acted already, or never watched."""

    def armed(self) -> tuple[Arm, ...]:
        """All that is watched, or still given back; raises GuardUnavailable."""

    def acted(self, key: str) -> str | None:
        """Why the guard has acted on this, in words; None when it has not. Raises GuardUnavailable."""

    def acting(self, key: str) -> bool:
        """True while the guard gives this back and has not succeeded yet."""
