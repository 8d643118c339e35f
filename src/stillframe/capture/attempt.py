"""The way of a capture on its host: from its order, or from where a killed agent left it, to published images."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from typing import TypeVar

from stillframe.capture import planner, publication
from stillframe.capture.held import Hold
from stillframe.capture.kept import Kept
from stillframe.capture.leases import BackupJob, Leases, OwnFile, SocketDirectory
from stillframe.capture.rbdleases import DiskSnapshot
from stillframe.capture.sources import Source
from stillframe.capture.standing import Outcome, Standing
from stillframe.capture.subject import Subject, look_at
from stillframe.capture.tools import Tools
from stillframe.capture.transfers import rbdimage
from stillframe.capture.uploads import Uploads
from stillframe.capture.watch import watched
from stillframe.capture.work import Work
from stillframe.errors.base import StillframeError, fault_of
from stillframe.errors.capture import HypervisorUnavailable, InstantLost, ReadFailed, ToolFailed, WayClosed
from stillframe.errors.patience import Patience
from stillframe.errors.service import ControllerUnreachable, DatabaseUnusable
from stillframe.messaging.contract import ControllerApi
from stillframe.model import ImageResult, Phase

LOG = logging.getLogger(__name__)
T = TypeVar("T")
CAUSE_SECONDS = 1.0  # that a failure to read may wait for its cause
# What may be back soon; the last two may be told by a controller that is far from here.
AWAY = (HypervisorUnavailable.code, ControllerUnreachable.code, DatabaseUnusable.code)

# What holds the instant: all else that a killed agent held is given back before it goes on.
OF_THE_HOLD = (BackupJob, OwnFile, SocketDirectory, DiskSnapshot)


class Attempt:
    """One thread's; where it stands is read by others meanwhile."""

    def __init__(
        self,
        standing: Standing,
        leases: Leases,
        *,
        tools: Tools,
        controller: ControllerApi,
        identity: tuple[str, str],
        turn: Callable[[], AbstractContextManager[bool]],
    ) -> None:
        """`identity`: the host's name, and the token of this run of the agent.

        `turn` waits until the host has room for one more transfer, and holds that room in its block.
        """
        self._standing = standing
        self._leases = leases
        self._tools = tools
        self._controller = controller
        self._identity = identity
        self._turn = turn
        self._id = standing.kept.order.capture_id
        self._uploads = Uploads()

    def run(self) -> Outcome:
        """To the published images or to the cause why there are none. Never raises."""
        kept = self._standing.kept
        try:
            if kept.results and not self._half_sent(kept):
                if results := self._asked_again(kept):
                    return results, None
            elif not kept.results:
                self._standing.attempt = self._patiently(lambda: self._controller.begin(self._id, *self._identity))
            return self._capture(), None
        except StillframeError as error:
            return (), error.fault
        except Exception as error:
            LOG.exception("capture %s: unexpected failure", self._id)
            return (), fault_of(error)

    def _capture(self) -> tuple[ImageResult, ...]:
        """Source, turn, transfer, commit, publication. A cheap source is taken before the turn comes."""
        with ExitStack() as stack:
            stack.callback(self._uploads.close)
            work, source, choices = self._resumed() or self._planned()
            hold = self._standing.kept.hold
            early = hold is None and not source.cheap
            if early and stack.enter_context(self._turn()):
                work, source, choices = self._planned()  # the instance may be another one after the wait
            if hold is None:
                work, source, hold = self._held(work, choices)
            if not early:
                with watched(work, source, hold):
                    stack.enter_context(self._turn())
            return self._saved(work, source, hold, choices)

    def _planned(self) -> tuple[Work, Source, tuple[planner.Choice, ...]]:
        reported = self._standing.kept.order.instant
        if reported and not self._tools.options.allow_new_instant:
            raise InstantLost(reason=f"what held the state of {reported.captured_at} is not in this host's journal")
        with self._standing.timeline.step("plan") as step:
            subject = self._patiently(lambda: look_at(self._standing.kept.order, self._tools))
            choices = planner.plan(subject, self._tools)
            step.note(f"{choices[0].source.name}+{choices[0].transfer.name}")
            for refusal in choices[0].refused:
                step.note(f"not {refusal}")
                if refusal.operator:
                    step.tell_operator(refusal.operator)
            for image in self._standing.kept.order.images:
                if image.note:
                    step.note(image.note)
        return self._work(subject), choices[0].source, choices

    def _held(self, work: Work, choices: tuple[planner.Choice, ...]) -> tuple[Work, Source, Hold]:
        """The instant, by the first source that gives it."""
        self._standing.enter(Phase.HOLDING)
        closed: dict[str, str] = {}
        for choice in choices:
            self._standing.control.check()
            if choice.source.name in closed:
                continue
            try:
                hold = choice.source.hold(work)
            except WayClosed as error:
                self._standing.timeline.event("way closed", error.fault.message, error.fault.operator)
                self._leases.give_back_all()
                closed[choice.source.name] = error.fault.message
                continue
            kept = self._standing.kept
            self._standing.keep(replace(kept, subject=work.subject, hold=hold, way=choice.way))
            self._standing.enter(Phase.HELD)
            return work, choice.source, hold
        raise WayClosed(way="of every kind", reason=" ".join(closed.values()).rstrip("."))

    def _resumed(self) -> tuple[Work, Source, tuple[planner.Choice, ...]] | None:
        """After a restart: on from the same instant, or None when there was none yet. Raises InstantLost."""
        kept = self._standing.kept
        if kept.subject is None or kept.hold is None:
            self._leases.give_back_all()
            return None
        work, source = self._work(kept.subject), planner.source_named(kept.hold.source)
        self._leases.give_back_all(but=OF_THE_HOLD)
        try:
            with self._standing.timeline.step("resume") as step:
                hold = kept.hold
                self._patiently(lambda: source.resume(work, hold))
                step.note(f"the agent was restarted; the instant of {kept.hold.instant.captured_at} is still held")
        except InstantLost:
            if not self._tools.options.allow_new_instant:
                raise
            self._leases.give_back_all()
            self._standing.keep(Kept(replace(kept.order, instant=None)))
            return None
        return work, source, planner.plan(kept.subject, self._tools)

    def _saved(
        self, work: Work, source: Source, hold: Hold, choices: tuple[planner.Choice, ...]
    ) -> tuple[ImageResult, ...]:
        """The images, published, by the first transfer that works from this instant.

        A store may refuse a location only when it is given it: then what is there goes, and the next transfer is tried.
        """
        left, closed = planner.of_source(choices, source.name), list[str]()
        while True:
            with watched(work, source, hold):
                results = self._transferred(work, source, hold, left, closed)
            self._commit(work, source, hold, results)
            try:
                self._publish(work, hold, results)
                return results
            except WayClosed as error:
                self._closed(error, closed)
                rbdimage.give_back(work)

    def _transferred(
        self, work: Work, source: Source, hold: Hold, choices: Iterator[planner.Choice], closed: list[str]
    ) -> tuple[ImageResult, ...]:
        """The images, by the first of these transfers that works; the words of those that do not go to `closed`."""
        self._standing.enter(Phase.TRANSFERRING)
        for choice in choices:
            try:
                results = choice.transfer.run(work, hold)
            except WayClosed as error:
                self._closed(error, closed)
                continue
            except (ReadFailed, ToolFailed):
                _look_for_the_cause(work, source, hold)
                raise
            self._taken(choice)
            return tuple(
                publication.attested(wanted.image, result, hold)
                for wanted, result in zip(work.subject.wanted, results, strict=True)
            )
        raise WayClosed(way=f"from {source.name}", reason=" ".join(closed).rstrip("."))

    def _taken(self, choice: planner.Choice) -> None:
        """The transfer that worked out, where it is not the one that was tried first."""
        if self._standing.kept.way != choice.way:
            self._standing.keep(replace(self._standing.kept, way=choice.way))

    def _commit(self, work: Work, source: Source, hold: Hold, results: tuple[ImageResult, ...]) -> None:
        """The state was held to the last byte, and nobody decided otherwise meanwhile."""
        with self._standing.timeline.step("commit"):
            self._standing.control.check()
            self._patiently(lambda: source.check(work, hold))
            self._standing.keep(replace(self._standing.kept, results=results))
            self._patiently(lambda: self._controller.commit(self._id, self._standing.attempt))

    def _publish(self, work: Work, hold: Hold, results: tuple[ImageResult, ...]) -> None:
        self._standing.expect_in_hand()
        self._standing.enter(Phase.PUBLISHING)
        try:
            with self._standing.timeline.step("publish"):
                publication.publish(work, hold, results)
            self._standing.published(results)
        except BaseException:
            publication.withdraw(work, hold, results)
            raise

    def _closed(self, error: WayClosed, closed: list[str]) -> None:
        self._standing.timeline.event("way closed", error.fault.message, error.fault.operator)
        closed.append(error.fault.message)

    def _asked_again(self, kept: Kept) -> tuple[ImageResult, ...]:
        """After a restart at the very end: the controller decides, or says again what it decided.

        None at all where the store does not take what is there, and another transfer may do.
        """
        assert kept.subject is not None  # noqa: S101 - both were kept before the results
        assert kept.hold is not None  # noqa: S101
        with self._standing.timeline.step("resume") as step:
            step.note("the agent was restarted when all bytes were there")
            self._patiently(lambda: self._controller.commit(self._id, kept.attempt))
        try:
            self._publish(self._work(kept.subject), kept.hold, kept.results)
            return kept.results
        except WayClosed as error:
            self._closed(error, [])
            return ()

    def _half_sent(self, kept: Kept) -> bool:
        """Whether the last bytes of an upload went down with the agent: the same attempt has to send it again."""
        way = kept.way
        if way is None or way.transfer not in (planner.UPLOAD.name, planner.RECORD.name):
            return False
        return not all(self._tools.glance.published(result.id) for result in kept.results)

    def _work(self, subject: Subject) -> Work:
        standing = self._standing
        standing.control.throttle.rate = subject.bandwidth
        parts = (self._leases, standing.timeline, standing.control, self._tools)
        return Work(subject, *parts, standing.attempt, self._uploads, self._controller)

    def _patiently(self, ask: Callable[[], T]) -> T:
        """The answer, which must be had: libvirt, controllers or a database that are away are waited for."""
        patience = Patience(self._tools.options.step_deadline, AWAY, 0.2)
        return patience.ask(ask, self._standing.control.sleep)


def _look_for_the_cause(work: Work, source: Source, hold: Hold) -> None:
    """Why the held bytes cannot be read, where the source knows: libvirt may need a moment to notice QEMU's end."""
    deadline = time.monotonic() + CAUSE_SECONDS
    while time.monotonic() < deadline:
        try:
            source.check(work, hold)
        except HypervisorUnavailable:
            return
        work.control.sleep(0.1)
