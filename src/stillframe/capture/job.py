"""One capture on its host, from its order to its end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from stillframe.capture import hangs, planner, publication
from stillframe.capture.held import Hold
from stillframe.capture.leases import BackupJob, Leases, Ledger, OwnFile, SocketDirectory
from stillframe.capture.rbdleases import DiskSnapshot
from stillframe.capture.slots import Slots
from stillframe.capture.sources import Source
from stillframe.capture.subject import Subject, look_at
from stillframe.capture.timeline import Timeline
from stillframe.capture.tools import Tools
from stillframe.capture.transfers import rbdimage
from stillframe.capture.uploads import Uploads
from stillframe.capture.watch import watched
from stillframe.capture.work import Work
from stillframe.datapath.control import Control
from stillframe.errors.base import Reported, StillframeError, fault_of
from stillframe.errors.capture import HypervisorUnavailable, InstantLost, ReadFailed, ToolFailed, WayClosed
from stillframe.errors.service import ControllerUnreachable, DatabaseUnusable
from stillframe.messaging.contract import CaptureReport, ControllerApi, Order
from stillframe.model import Fault, ImageResult, Phase, Step, Way

LOG = logging.getLogger(__name__)
T = TypeVar("T")
SETTLE_INTERVAL = 2.0  # seconds between two tries to give back what could not be given back
CAUSE_SECONDS = 1.0  # that a failure to read may wait for its cause
# What may be back soon; the last two may be told by a controller that is far from here.
AWAY = (HypervisorUnavailable.code, ControllerUnreachable.code, DatabaseUnusable.code)

# What holds the instant: all else that a killed agent held is given back before it goes on.
OF_THE_HOLD = (BackupJob, OwnFile, SocketDirectory, DiskSnapshot)


@dataclass(frozen=True, slots=True)
class Kept:
    """What the journal kept of a capture whose agent stopped."""

    order: Order
    attempt: str = ""  # its token
    steps: tuple[Step, ...] = ()
    subject: Subject | None = None
    hold: Hold | None = None  # once the instant was fixed
    way: Way | None = None
    results: tuple[ImageResult, ...] = ()  # once commit was asked for


class Journal(Ledger, Protocol):
    """Where a capture's progress is written down; agent/journal.py has the durable one."""

    def keep(self, kept: Kept) -> None:
        """Replaces what is kept of this capture, durably."""

    def ended(self, report: CaptureReport) -> None:
        """Its end, to be reported until the controller has recorded it."""


class Job:
    """Runs in a thread of its own; others may report on it and cancel it at any time."""

    def __init__(
        self,
        kept: Kept,
        end: CaptureReport | None = None,
        *,
        tools: Tools,
        journal: Journal,
        controller: ControllerApi,
        slots: Slots,
        identity: tuple[str, str],
        changed: Callable[[], None],
    ) -> None:
        """`end`: it ended in an earlier run of the agent, whose identity is the host's name and a token.

        `changed` is called when a report would differ.
        """
        self._kept = kept
        self._tools = tools
        self._journal = journal
        self._controller = controller
        self._slots = slots
        self._place = slots.place()
        self._identity = identity
        self._changed = changed
        self._lock = threading.Lock()
        self._control = Control(stall=tools.options.transfer_stall)
        self._timeline = Timeline(kept.steps, self._moved)
        self._leases = Leases(kept.order.capture_id, journal, tools, self._control.alive)
        self._uploads = Uploads()
        self._attempt = kept.attempt
        self._phase = Phase.HELD if kept.hold else Phase.WAITING
        self._outcome: tuple[tuple[ImageResult, ...], Fault | None] | None = None
        self._end = end
        self._closing = threading.Event()
        self._thread = 0  # the one that runs it
        self._suspected = False  # of hanging
        self._given_up = False  # and that thread has not come back yet

    @property
    def capture_id(self) -> str:
        """The capture's id."""
        return self._kept.order.capture_id

    def cancel(self, fault: Fault) -> None:
        """Ends it with this cause, unless it has won its commit by then."""
        self._control.cancel(Reported(fault))

    def report(self) -> CaptureReport:
        """All that is known of it now."""
        with self._lock:
            return self._end or self._report()

    def _report(self) -> CaptureReport:
        """With the lock held."""
        kept = self._kept
        return CaptureReport(
            capture_id=self.capture_id,
            attempt=self._attempt,
            phase=self._phase,
            steps=self._timeline.steps(),
            progress=self._control.meter.progress(),
            way=kept.way,
            instant=kept.hold.instant if kept.hold else None,
        )

    def run(self) -> None:
        """To its end, and on until all is given back. Never raises: every failure ends up in the report."""
        self._thread = threading.get_ident()
        if self._end is None:
            outcome = self._attempted()
            with self._lock:
                self._outcome = self._outcome or outcome
            self._slots.leave(self._place)
            self._finish(self._leases.give_back_all())
        while self.report().held and not self._closing.wait(SETTLE_INTERVAL):
            self._settle()

    def close(self) -> None:
        """The agent stops: what could not be given back yet is tried again by its next run."""
        self._closing.set()

    # ------------------------------------------------------------------------------------------- a thread that hangs

    def hangs(self) -> bool:
        """Whether it is to be given up: no sign of life for so long, nor since it was asked for the last time.

        A process that stood still as a whole has only just begun to give some.
        """
        silent = self._end is None and self._control.silent > hangs.patience(self._tools)
        suspected, self._suspected = self._suspected, silent
        return silent and suspected

    @property
    def given_up(self) -> bool:
        """Whether it has ended while its thread hangs still."""
        return self._given_up

    def give_up(self) -> None:
        """Ends it although its thread hangs: the guest and the turn are given back now, the rest when that returns.

        May hang itself, on what the thread hangs on; the end is in the report before.
        """
        with self._lock:
            if self._end:
                return
            steps, seconds = self._timeline.steps(), hangs.patience(self._tools)
            why = hangs.fault(self._phase, steps, seconds)
            images, fault = self._outcome or ((), why)
            held = tuple(f"{lease}: {why.message}" for lease in self._leases.held())
            told = replace(self._report(), phase=Phase.ENDED, steps=self._timeline.cut_off(why.message))
            self._end = end = replace(told, images=images, fault=fault, held=held)
            self._given_up = True
        self._changed()
        LOG.error("capture %s: %s Its thread is here:\n%s", self.capture_id, why.message, hangs.stack(self._thread))
        self._control.cancel(Reported(why))
        self._slots.leave(self._place)
        hangs.give_guest_back(self._tools.guard, self.capture_id)
        self._record(end)

    # ------------------------------------------------------------------------------------------------ the way

    def _attempted(self) -> tuple[tuple[ImageResult, ...], Fault | None]:
        try:
            if self._kept.results and not self._half_sent():
                if results := self._asked_again(self._kept):
                    return results, None
            elif not self._kept.results:
                self._attempt = self._patiently(lambda: self._controller.begin(self.capture_id, *self._identity))
            return self._capture(), None
        except StillframeError as error:
            return (), error.fault
        except Exception as error:
            LOG.exception("capture %s: unexpected failure", self.capture_id)
            return (), fault_of(error)

    def _capture(self) -> tuple[ImageResult, ...]:
        """Source, turn, transfer, commit, publication. A cheap source is taken before the turn comes."""
        with ExitStack() as stack:
            stack.callback(self._uploads.close)
            work, source, choices = self._resumed() or self._planned()
            hold = self._kept.hold
            early = hold is None and not source.cheap
            if early and stack.enter_context(self._turn()):
                work, source, choices = self._planned()  # the instance may be another one after the wait
            if hold is None:
                work, source, hold = self._held(work, choices)
            if not early:
                with watched(work, source, hold):
                    stack.enter_context(self._turn())
            return self._saved(work, source, hold, choices)

    def _half_sent(self) -> bool:
        """Whether the last bytes of an upload went down with the agent: the same attempt has to send it again."""
        way = self._kept.way
        if way is None or way.transfer not in (planner.UPLOAD.name, planner.RECORD.name):
            return False
        return not all(self._tools.glance.published(result.id) for result in self._kept.results)

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

    def _closed(self, error: WayClosed, closed: list[str]) -> None:
        self._timeline.event("way closed", error.fault.message, error.fault.operator)
        closed.append(error.fault.message)

    def _asked_again(self, kept: Kept) -> tuple[ImageResult, ...]:
        """After a restart at the very end: the controller decides, or says again what it decided.

        None at all where the store does not take what is there, and another transfer may do.
        """
        assert kept.subject is not None  # noqa: S101 - both were kept before the results
        assert kept.hold is not None  # noqa: S101
        with self._timeline.step("resume") as step:
            step.note("the agent was restarted when all bytes were there")
            self._patiently(lambda: self._controller.commit(self.capture_id, kept.attempt))
        try:
            self._publish(self._work(kept.subject), kept.hold, kept.results)
            return kept.results
        except WayClosed as error:
            self._closed(error, [])
            return ()

    def _publish(self, work: Work, hold: Hold, results: tuple[ImageResult, ...]) -> None:
        self._expect_in_hand()
        self._enter(Phase.PUBLISHING)
        try:
            with self._timeline.step("publish"):
                publication.publish(work, hold, results)
            self._expect_in_hand(results)
        except BaseException:
            publication.withdraw(work, hold, results)
            raise

    def _expect_in_hand(self, published: tuple[ImageResult, ...] = ()) -> None:
        """Raises what it was given up for. Once images are published it has ended well, whatever follows."""
        with self._lock:
            if self._end and self._end.fault:
                raise Reported(self._end.fault)
            self._outcome = (published, None) if published else None

    def _turn(self) -> AbstractContextManager[bool]:
        return self._slots.turn(self._place, self._control.check)

    def _planned(self) -> tuple[Work, Source, tuple[planner.Choice, ...]]:
        reported = self._kept.order.instant
        if reported and not self._tools.options.allow_new_instant:
            raise InstantLost(reason=f"what held the state of {reported.captured_at} is not in this host's journal")
        with self._timeline.step("plan") as step:
            subject = self._patiently(lambda: look_at(self._kept.order, self._tools))
            choices = planner.plan(subject, self._tools)
            step.note(f"{choices[0].source.name}+{choices[0].transfer.name}")
            for refusal in choices[0].refused:
                step.note(f"not {refusal}")
                if refusal.operator:
                    step.tell_operator(refusal.operator)
            for said in self._notes():
                step.note(said)
        return self._work(subject), choices[0].source, choices

    def _notes(self) -> list[str]:
        return [image.note for image in self._kept.order.images if image.note]

    def _held(self, work: Work, choices: tuple[planner.Choice, ...]) -> tuple[Work, Source, Hold]:
        """The instant, by the first source that gives it."""
        self._enter(Phase.HOLDING)
        closed: dict[str, str] = {}
        for choice in choices:
            self._control.check()
            if choice.source.name in closed:
                continue
            try:
                hold = choice.source.hold(work)
            except WayClosed as error:
                self._timeline.event("way closed", error.fault.message, error.fault.operator)
                self._leases.give_back_all()
                closed[choice.source.name] = error.fault.message
                continue
            self._keep(
                replace(self._kept, subject=work.subject, hold=hold, way=choice.way, steps=self._timeline.steps())
            )
            self._enter(Phase.HELD)
            return work, choice.source, hold
        raise WayClosed(way="of every kind", reason=" ".join(closed.values()).rstrip("."))

    def _resumed(self) -> tuple[Work, Source, tuple[planner.Choice, ...]] | None:
        """After a restart: on from the same instant, or None when there was none yet. Raises InstantLost."""
        kept = self._kept
        if kept.subject is None or kept.hold is None:
            self._leases.give_back_all()
            return None
        work, source = self._work(kept.subject), planner.source_named(kept.hold.source)
        self._leases.give_back_all(but=OF_THE_HOLD)
        try:
            with self._timeline.step("resume") as step:
                hold = kept.hold
                self._patiently(lambda: source.resume(work, hold))
                step.note(f"the agent was restarted; the instant of {kept.hold.instant.captured_at} is still held")
        except InstantLost:
            if not self._tools.options.allow_new_instant:
                raise
            self._leases.give_back_all()
            self._keep(Kept(replace(kept.order, instant=None), steps=self._timeline.steps()))
            return None
        return work, source, planner.plan(kept.subject, self._tools)

    def _transferred(
        self, work: Work, source: Source, hold: Hold, choices: Iterator[planner.Choice], closed: list[str]
    ) -> tuple[ImageResult, ...]:
        """The images, by the first of these transfers that works; the words of those that do not go to `closed`."""
        self._enter(Phase.TRANSFERRING)
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
        if self._kept.way != choice.way:
            self._keep(replace(self._kept, way=choice.way))

    def _commit(self, work: Work, source: Source, hold: Hold, results: tuple[ImageResult, ...]) -> None:
        """The state was held to the last byte, and nobody decided otherwise meanwhile."""
        with self._timeline.step("commit"):
            self._control.check()
            self._patiently(lambda: source.check(work, hold))
            self._keep(replace(self._kept, results=results, steps=self._timeline.steps()))
            self._patiently(lambda: self._controller.commit(self.capture_id, self._attempt))

    # ------------------------------------------------------------------------------------------- keeping track

    def _work(self, subject: Subject) -> Work:
        self._control.throttle.rate = subject.bandwidth
        parts = (self._leases, self._timeline, self._control, self._tools)
        return Work(subject, *parts, self._attempt, self._uploads, self._controller)

    def _enter(self, phase: Phase) -> None:
        with self._lock:
            self._phase = phase
        self._moved()

    def _moved(self) -> None:
        self._control.alive()
        self._changed()

    def _patiently(self, ask: Callable[[], T]) -> T:
        """The answer, which must be had: libvirt, controllers or a database that are away are waited for."""
        deadline = time.monotonic() + self._tools.options.step_deadline
        while True:
            try:
                return ask()
            except StillframeError as error:
                if error.fault.code not in AWAY or time.monotonic() >= deadline:
                    raise
                self._control.sleep(0.2)

    def _keep(self, kept: Kept) -> None:
        kept = replace(kept, attempt=self._attempt)
        self._journal.keep(kept)
        with self._lock:
            self._kept = kept

    def _finish(self, left: tuple[str, ...]) -> None:
        with self._lock:
            assert self._outcome is not None  # noqa: S101 - it was attempted
            images, fault = self._outcome
            self._phase = Phase.ENDED
            ended = self._end or replace(self._report(), images=images, fault=fault)
            self._end = end = replace(ended, held=left)
            self._given_up = False
        self._record(end)
        self._changed()

    def _record(self, end: CaptureReport) -> None:
        try:
            self._journal.ended(end)
        except Exception as error:  # noqa: BLE001 - the end is reported all the same
            LOG.warning("capture %s: its end is not in the journal: %s", self.capture_id, error)

    def _settle(self) -> None:
        """Tries again to give back what could not be given back before."""
        left = self._leases.give_back_all()
        with self._lock:
            assert self._end is not None  # noqa: S101 - only what has ended is settled
            self._end = replace(self._end, held=left)
        self._changed()


def _look_for_the_cause(work: Work, source: Source, hold: Hold) -> None:
    """Why the held bytes cannot be read, where the source knows: libvirt may need a moment to notice QEMU's end."""
    deadline = time.monotonic() + CAUSE_SECONDS
    while time.monotonic() < deadline:
        try:
            source.check(work, hold)
        except HypervisorUnavailable:
            return
        work.control.sleep(0.1)
