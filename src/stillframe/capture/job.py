"""One capture on its host, in a thread of its own, from its order to the last thing given back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from stillframe.capture import hangs
from stillframe.capture.attempt import Attempt
from stillframe.capture.kept import Journal, Kept
from stillframe.capture.leases import Leases
from stillframe.capture.slots import Slots
from stillframe.capture.standing import Standing
from stillframe.capture.tools import Tools
from stillframe.datapath.control import Control
from stillframe.errors.base import Reported
from stillframe.messaging.contract import CaptureReport, ControllerApi
from stillframe.model import Fault

LOG = logging.getLogger(__name__)
SETTLE_INTERVAL = 2.0  # seconds between two tries to give back what could not be given back


class Job:
    """Others may report on it, cancel it and give it up at any time."""

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
        self.capture_id = kept.order.capture_id
        self._tools = tools
        self._journal = journal
        self._slots = slots
        self._place = slots.place()
        self._changed = changed
        self._control = Control(stall=tools.options.transfer_stall)
        self._leases = Leases(self.capture_id, journal, tools, self._control.alive)
        self._standing = Standing(kept, end, control=self._control, journal=journal, changed=changed)
        self._attempt = Attempt(
            self._standing,
            self._leases,
            tools=tools,
            controller=controller,
            identity=identity,
            turn=lambda: slots.turn(self._place, self._control.check),
        )
        self._closing = threading.Event()
        self._thread = 0  # the one that runs it
        self._suspected = False  # of hanging

    def cancel(self, fault: Fault) -> None:
        """Ends it with this cause, unless it has won its commit by then."""
        self._control.cancel(Reported(fault))

    def report(self) -> CaptureReport:
        """All that is known of it now."""
        return self._standing.report()

    def run(self) -> None:
        """To its end, and on until all is given back. Never raises: every failure ends up in the report."""
        self._thread = threading.get_ident()
        if not self._standing.ended:
            self._standing.decide(self._attempt.run())
            self._slots.leave(self._place)
            self._record(self._standing.end(self._leases.give_back_all()))
            self._changed()
        while self.report().held and not self._closing.wait(SETTLE_INTERVAL):
            self._standing.still_holds(self._leases.give_back_all())

    def close(self) -> None:
        """The agent stops: what could not be given back yet is tried again by its next run."""
        self._closing.set()

    def _record(self, end: CaptureReport) -> None:
        try:
            self._journal.ended(end)
        except Exception as error:  # noqa: BLE001 - the end is reported all the same
            LOG.warning("capture %s: its end is not in the journal: %s", self.capture_id, error)

    # ------------------------------------------------------------------------------------------- a thread that hangs

    def hangs(self) -> bool:
        """Whether it is to be given up: no sign of life for so long, nor since it was asked for the last time.

        A process that stood still as a whole has only just begun to give some.
        """
        silent = not self._standing.ended and self._control.silent > hangs.patience(self._tools)
        suspected, self._suspected = self._suspected, silent
        return silent and suspected

    @property
    def given_up(self) -> bool:
        """Whether it has ended while its thread hangs still."""
        return self._standing.given_up

    def give_up(self) -> None:
        """Ends it although its thread hangs: the guest and the turn are given back now, the rest when that returns.

        May hang itself, on what the thread hangs on; the end is in the report before.
        """
        given_up = self._standing.give_up(hangs.patience(self._tools), self._leases.held())
        if given_up is None:
            return
        end, why = given_up
        LOG.error("capture %s: %s Its thread is here:\n%s", self.capture_id, why.message, hangs.stack(self._thread))
        self._control.cancel(Reported(why))
        self._slots.leave(self._place)
        hangs.give_guest_back(self._tools.guard, self.capture_id)
        self._record(end)
