"""What is done from outside about a capture whose thread hangs in a call that nobody can interrupt."""

from __future__ import annotations

import logging
import sys
import traceback
from dataclasses import replace

from stillframe.capture.guarding import Guard
from stillframe.capture.tools import Tools
from stillframe.errors.capture import CaptureHung
from stillframe.errors.service import GuardUnavailable, PublicationUnknown
from stillframe.model import Fault, Phase, Step

LOG = logging.getLogger(__name__)
TIMES = 3  # the longest that a step may take: several that cannot tell how they get on may follow one another


def patience(tools: Tools) -> float:
    """Seconds without a sign of life after which a thread hangs: longer than anything that has a deadline."""
    return TIMES * max(tools.options.step_deadline, tools.options.transfer_stall, tools.ceph.options.timeout)


def fault(phase: Phase, steps: tuple[Step, ...], seconds: float) -> Fault:
    """What such a capture is given up for."""
    if phase is Phase.PUBLISHING:
        reason = f"nothing has moved for {seconds:g} seconds while it was being published"
        return PublicationUnknown(reason=reason).fault
    return CaptureHung(seconds=seconds, step=steps[-1].name if steps else "begin").fault


def stack(thread: int) -> str:
    """Where a thread is just now, for whoever looks for what it hangs on."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - documented, and there is no other
    return "".join(traceback.format_stack(frame)) if frame else "unknown"


def give_guest_back(guard: Guard, capture_id: str) -> None:
    """Has the guard do it, which hangs on nothing of ours: now, instead of when the agent dies."""
    try:
        for arm in guard.armed():
            if arm.key.startswith(f"{capture_id}:"):
                guard.arm(replace(arm, seconds=0.0))
    except GuardUnavailable as error:
        LOG.warning("capture %s: its guest is given back only when its thread returns: %s", capture_id, error)
