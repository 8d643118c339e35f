"""The agent's end of the guard: arms it, disarms it, and raises a new one when it has died."""

from __future__ import annotations

from pathlib import Path

from stillframe.capture.guarding import Arm, ArmKind

__all__ = ["Arm", "ArmKind", "GuardLink"]


class GuardLink:
    """The guard of one state directory; implements capture's Guard."""

    def __init__(self, state_dir: Path, uri: str, grace: float) -> None:
        """grace: seconds that backup jobs of a dead agent are kept."""
        self.state_dir, self.uri, self.grace = state_dir, uri, grace

    def start(self) -> None:
        """Adopts the living guard of this state directory, else spawns one; raises GuardUnavailable."""
        raise NotImplementedError

    def arm(self, arm: Arm) -> None:
        """Returns once the guard watches; arming a key again replaces what it had. Raises GuardUnavailable."""
        raise NotImplementedError

    def disarm(self, key: str) -> bool:
        """Ends the watch; False when the guard has acted already, or never watched."""
        raise NotImplementedError

    def armed(self) -> tuple[Arm, ...]:
        """What the guard watches now, also from before this agent started. Raises GuardUnavailable."""
        raise NotImplementedError

    def acted(self, key: str) -> str | None:
        """Why the guard has acted on this key, in words; None when it has not. Raises GuardUnavailable."""
        raise NotImplementedError

    def close(self) -> None:
        """Lets go of the guard, which ends when nothing is armed."""
        raise NotImplementedError
