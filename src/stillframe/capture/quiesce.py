"""Freezing a guest's filesystems around the instant, and only there."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from stillframe.capture.awake import awake
from stillframe.capture.guarding import Arm, ArmKind
from stillframe.capture.leases import FrozenGuest
from stillframe.capture.timeline import OpenStep
from stillframe.capture.work import Work
from stillframe.errors.base import StillframeError
from stillframe.errors.capture import (
    CannotFreeze,
    FrozenByOther,
    GuestAgentFailed,
    GuestAgentTimeout,
    GuestAgentUnavailable,
)
from stillframe.errors.service import GuardUnavailable
from stillframe.hypervisor import guestagent
from stillframe.model import Consistency, Instant

LOG = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Freeze:
    """The guest frozen by us, and what must be given back for it."""

    lease: FrozenGuest
    frozen: guestagent.Frozen


def trim(work: Work) -> None:
    """fstrim in the guest, when wished; the capture goes on without it."""
    subject = work.subject
    if not (subject.trim and subject.running):
        return
    try:
        with work.timeline.step("trim"):
            guestagent.trim(work.tools.hypervisor, subject.instance.id, work.tools.options.step_deadline)
    except (GuestAgentUnavailable, GuestAgentTimeout) as error:
        LOG.info("capture %s: no trim: %s", work.capture_id, error)


def at_one_instant(
    work: Work,
    act: Callable[[], tuple[datetime, T]],
    *,
    otherwise: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> tuple[Instant, T]:
    """Runs `act`, which fixes the state and tells when, with the guest's filesystems frozen where that can be had.

    Where it cannot, within `otherwise`, which may keep the guest still in another way, or raise.
    The guest is thawed whatever happens, by the guard if not by us. Raises CannotFreeze or FrozenByOther when the
    capture requires what cannot be had.
    """
    with work.tools.stillness.kept(), awake(), work.timeline.step("instant") as step:
        freeze = _freeze(work, step)
        try:
            work.control.check()
            with nullcontext() if freeze else otherwise():
                captured_at, done = act()
        except BaseException:
            if freeze:
                _thaw_after_failure(work, freeze)
            raise
        if freeze is None:
            return Instant(captured_at, Consistency.CRASH), done
        return Instant(captured_at, *_thaw(work, freeze, step)), done


def _freeze(work: Work, step: OpenStep) -> Freeze | None:
    """The freeze, or None when the guest does not run or cannot be frozen and need not be."""
    subject = work.subject
    if not subject.running or subject.instance.run is None:
        step.note("the guest does not run: nothing to freeze")
        return None
    try:
        _expect_thawed(work)
        return _frozen(work, FrozenGuest(subject.instance.id, subject.instance.run, f"{work.capture_id}:thaw"))
    except (GuestAgentTimeout, GuestAgentUnavailable, FrozenByOther) as error:
        _unfrozen(work, step, error)
        return None


def _expect_thawed(work: Work) -> None:
    """Nobody else's freeze is touched, and none of ours is forgotten that may still be executed."""
    tools = work.tools
    for earlier in work.leases.of(FrozenGuest):  # of an attempt that was cut off, or of another source
        _give_back_in_time(work, earlier)
    if guestagent.frozen(tools.hypervisor, work.subject.instance.id, tools.options.agent_timeout):
        raise FrozenByOther(instance=work.subject.instance.id)


def _give_back_in_time(work: Work, lease: FrozenGuest) -> None:
    deadline = time.monotonic() + work.tools.options.agent_timeout
    while True:
        try:
            work.leases.give_back(lease)
        except GuestAgentTimeout:
            if time.monotonic() >= deadline:
                raise
            work.control.sleep(0.1)
        else:
            return


def _frozen(work: Work, lease: FrozenGuest) -> Freeze:
    tools = work.tools
    try:
        with work.leases.taking(lease):
            tools.guard.arm(_until_thawed(lease, tools.options.freeze_timeout))
            return Freeze(lease, guestagent.freeze(tools.hypervisor, lease.instance_id, tools.options.agent_timeout))
    except GuestAgentTimeout:
        _leave_to_the_guard(work, lease)  # it may still be executed
        raise
    except GuestAgentFailed:
        _give_back_later(work, lease)
        raise
    except (GuestAgentUnavailable, FrozenByOther):
        work.leases.drop(lease)
        tools.guard.disarm(lease.key)
        raise


def _until_thawed(lease: FrozenGuest, seconds: float) -> Arm:
    return Arm(lease.key, ArmKind.THAW, lease.instance_id, lease.run, seconds)


def _leave_to_the_guard(work: Work, lease: FrozenGuest) -> None:
    """The lease stays; the guard thaws as soon as the guest agent answers, and we at the end of the capture."""
    try:
        work.tools.guard.arm(_until_thawed(lease, 0.0))
    except GuardUnavailable as error:
        LOG.warning("capture %s: nobody thaws before its end: %s", work.capture_id, error)


def _unfrozen(work: Work, step: OpenStep, error: StillframeError) -> None:
    if work.subject.require_quiesce:
        if isinstance(error, FrozenByOther):
            raise error
        raise CannotFreeze(instance=work.subject.instance.id, reason=error.fault.message) from error
    step.note(f"not frozen: {error.fault.message}")


def _thaw(work: Work, freeze: Freeze, step: OpenStep) -> tuple[Consistency, float]:
    """How consistent the instant is, and for how many milliseconds the guest was frozen."""
    lease, frozen, tools = freeze.lease, freeze.frozen, work.tools
    count, problem = 0, "the guest agent did not answer the thaw"
    try:
        with work.leases.giving_back(lease):
            count = guestagent.thaw(tools.hypervisor, lease.instance_id, tools.options.agent_timeout)
            until = time.monotonic()
    except (GuestAgentTimeout, GuestAgentUnavailable) as error:
        until = time.monotonic()
        problem = error.fault.message
        _leave_to_the_guard(work, lease)
    frozen_ms = round((until - frozen.since) * 1000, 1)
    unanswered = bool(work.leases.of(FrozenGuest))
    in_time = unanswered or tools.guard.disarm(lease.key)
    if count == frozen.filesystems and in_time:
        step.note(f"{count} {'filesystem' if count == 1 else 'filesystems'} frozen for {frozen_ms:.0f} ms")
        return Consistency.FILESYSTEM, frozen_ms
    if not in_time:
        problem = f"the guard had to thaw the guest after {tools.options.freeze_timeout:g} seconds"
    elif not unanswered:
        problem = f"{frozen.filesystems} filesystems were frozen, but {count} thawed"
    if work.subject.require_quiesce:
        raise CannotFreeze(instance=lease.instance_id, reason=problem)
    step.note(f"not certainly frozen: {problem}")
    return Consistency.CRASH, frozen_ms


def _thaw_after_failure(work: Work, freeze: Freeze) -> None:
    """The first error is on its way: what cannot be thawed now stays a lease, and the guard thaws too."""
    _give_back_later(work, freeze.lease)


def _give_back_later(work: Work, lease: FrozenGuest) -> None:
    try:
        work.leases.give_back(lease)
    except StillframeError as error:
        LOG.warning("capture %s: %s could not be given back yet: %s", work.capture_id, lease, error)
