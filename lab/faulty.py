"""`python -m lab.faulty PLAN stillframe up ...`: that command with faults at its points (stillframe.failpoints).

PLAN is a directory. A file `fault` in it arms one fault (see Fault), as JSON; the process that comes to its point
renames the file to `fired` and does the action, once. While there is a file `reached`, the names of the points that are
come to are appended to it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from unittest import mock

from stillframe import failpoints
from stillframe.cli import daemons
from stillframe.cli.main import main

COMMANDS = {"stillframe": main, "stillframe-agent": daemons.agent}


class Action(StrEnum):
    """What happens at a point."""

    KILL = "kill"  # SIGKILL to the process
    RAISE = "exception"  # one that nobody foresaw
    HANG = "hang"  # the thread stands still, the others go on
    STOP = "stop"  # SIGSTOP to the process


class Injected(Exception):  # noqa: N818 - a fault, not an error of the lab
    """An exception that no part of Stillframe knows."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, once."""

    point: str
    action: Action
    since: str = ""  # the point from which on it may happen; else from the moment that it is armed
    seconds: float = 0.0  # of a hang


class Plan:
    """The directory through which faults are armed; used by the lab and by the process that it breaks."""

    def __init__(self, directory: Path) -> None:
        self.armed = directory / "fault"
        self.fired = directory / "fired"
        self.reached = directory / "reached"

    def arm(self, fault: Fault) -> None:
        """The fault happens at the next occasion, in place of what was armed."""
        self.fired.unlink(missing_ok=True)
        draft = self.armed.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(fault)))
        draft.rename(self.armed)

    def disarm(self) -> bool:
        """No fault from here on; whether it has happened."""
        self.armed.unlink(missing_ok=True)
        return self.fired.exists()

    def next(self) -> Fault | None:
        """What is armed."""
        try:
            values = json.loads(self.armed.read_text())
        except FileNotFoundError:
            return None
        return Fault(**{**values, "action": Action(values["action"])})

    def fire(self) -> bool:
        """Takes the fault for this thread: it happens once."""
        try:
            self.armed.rename(self.fired)
        except FileNotFoundError:
            return False
        return True


class Faults:
    """What stands in place of failpoints.reached in the process that is to break."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._begun: Fault | None = None  # whose time has come

    def reached(self, point: str) -> None:
        """Does what is planned for this point."""
        if self._plan.reached.exists():
            with self._plan.reached.open("a") as file:
                file.write(f"{point}\n")
        fault = self._plan.next()
        if fault is None:
            return
        if fault.since in ("", point):
            self._begun = fault
        if point == fault.point and self._begun == fault and self._plan.fire():
            self._begun = None
            _happen(fault)


def _happen(fault: Fault) -> None:
    match fault.action:
        case Action.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        case Action.STOP:
            # to this thread: the kernel may have another take what is for the process, and this one goes on meanwhile
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        case Action.HANG:
            time.sleep(fault.seconds)
        case Action.RAISE:
            raise Injected(f"a fault of the lab at {fault.point}")


def run(directory: Path, words: list[str]) -> int:
    """The command with its points armed; its exit code."""
    sys.argv = words
    with mock.patch.object(failpoints, "reached", Faults(Plan(directory)).reached):
        return COMMANDS[words[0]]()


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), sys.argv[2:]))
