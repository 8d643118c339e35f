"""The agent: takes orders by its heartbeat, runs captures, and goes on after a restart where it was."""

from __future__ import annotations

import itertools
import logging
import threading
import time
import uuid
from collections.abc import Iterable

from stillframe.agent.inventory import Inventory
from stillframe.agent.journal import Journal
from stillframe.capture.job import Job
from stillframe.capture.kept import Kept
from stillframe.capture.leases import Leases
from stillframe.capture.slots import Slots
from stillframe.capture.tools import Tools
from stillframe.config import Agent as AgentOptions
from stillframe.errors.base import StillframeError
from stillframe.errors.capture import ServiceStopped, Superseded
from stillframe.errors.service import JournalFailed
from stillframe.messaging.contract import CaptureReport, ControllerApi, HostReport, Orders
from stillframe.model import Phase

LOG = logging.getLogger(__name__)
STILL = 1.0  # seconds that a heartbeat waits for guests that stand still, normally for milliseconds
MAX_JOBS = 32  # captures in hand at once; more orders wait for the next heartbeat


class AgentService:
    """One on each host. `start` and `stop` frame it; `wake` may be called from any thread."""

    def __init__(
        self,
        host: str,
        *,
        tools: Tools,
        journal: Journal,
        controller: ControllerApi,
        options: AgentOptions,
        woken: threading.Event,
        agent_id: str,
    ) -> None:
        """`woken` is set by whoever wants a heartbeat now: the controller, libvirt's events, the captures.

        `agent_id` is the same in every run of this agent.
        """
        self.run_id = str(uuid.uuid4())
        self._host = host
        self._agent_id = agent_id
        self._tools = tools
        self._journal = journal
        self._controller = controller
        self._options = options
        self._slots = Slots(options.max_transfers)
        self._woken = woken
        self._stopping = threading.Event()
        self._inventory = Inventory(tools.hypervisor, self.wake)
        self._jobs: dict[str, Job] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._send_inventory = True
        self._beats = itertools.count(1)
        self._told = ""  # why there is no heartbeat, as it was last logged
        self._thread = threading.Thread(target=self._beat_until_stopped, name="agent", daemon=True)

    def start(self) -> None:
        """Takes up what the journal kept, then goes by the controller's orders."""
        for capture_id in self._journal.strays():
            Leases(capture_id, self._journal, self._tools).give_back_all()
        for kept, end in self._journal.captures():
            LOG.info("capture %s: taken up again after a restart", kept.order.capture_id)
            self._begin(kept, end)
        self._thread.start()

    def wake(self) -> None:
        """A heartbeat now, please."""
        self._woken.set()

    def stop(self, deadline: float) -> None:
        """Lets captures end until the deadline (monotonic), cancels the rest, and reports their ends."""
        self._stopping.set()
        jobs = tuple(self._jobs.values())  # a copy: the heartbeat forgets some meanwhile
        for job in jobs:
            job.close()
        _join(self._at_work(), deadline)
        fault = ServiceStopped().fault
        for job in jobs:
            job.cancel(fault)
        _join(self._at_work(), time.monotonic() + self._tools.options.step_deadline)
        self.wake()
        self._thread.join(timeout=self._tools.options.step_deadline)
        self._inventory.close()

    def hung(self) -> int:
        """How many captures were given up whose threads hang still."""
        return sum(job.given_up for job in tuple(self._jobs.values()))

    # ------------------------------------------------------------------------------------------ the heartbeat

    def _beat_until_stopped(self) -> None:
        while True:
            self._woken.clear()
            last = self._stopping.is_set() and not any(thread.is_alive() for thread in self._at_work())
            try:
                self._beat()
                self._told = ""
            except StillframeError as error:
                if str(error) != self._told:
                    LOG.warning("heartbeat: %s", error)
                self._told = str(error)
            except Exception:
                LOG.exception("heartbeat")
            if last:
                return
            self._woken.wait(self._pause())

    def _pause(self) -> float:
        """Seconds to the next heartbeat when nobody wakes us."""
        return self._options.progress_interval if self._busy() else self._options.heartbeat

    def _beat(self) -> None:
        self._give_up_what_hangs()
        self._tools.stillness.wait(STILL)
        self._inventory.refresh()
        told = {capture_id: job.report() for capture_id, job in self._jobs.items()}
        orders = self._controller.heartbeat(
            HostReport(
                host=self._host,
                agent_run=self.run_id,
                agent_id=self._agent_id,
                sequence=next(self._beats),
                captures=tuple(told.values()),
                inventory_digest=self._inventory.digest,
                inventory=self._inventory.instances if self._send_inventory else None,
            )
        )
        self._send_inventory = orders.send_inventory
        self._obey(orders)
        for capture_id in orders.recorded:
            self._forget(told[capture_id])
        if orders.send_inventory:
            self.wake()

    def _obey(self, orders: Orders) -> None:
        wanted = {order.capture_id: order for order in orders.orders}
        for capture_id, job in self._jobs.items():
            order = wanted.get(capture_id)
            if order is None:
                job.cancel(Superseded(reason="nobody wants it any more").fault)
            elif order.cancel:
                job.cancel(order.cancel)
        for capture_id, order in wanted.items():
            if capture_id in self._jobs or order.cancel or self._stopping.is_set() or self._busy() >= MAX_JOBS:
                continue
            self._take_up(Kept(order))

    def _busy(self) -> int:
        """How many captures have not ended; what those that have still give back may take hours."""
        return sum(job.report().phase is not Phase.ENDED for job in self._jobs.values())

    # ------------------------------------------------------------------------------------------------ the jobs

    def _at_work(self) -> tuple[threading.Thread, ...]:
        """The threads of all captures but those that were given up."""
        hung = {job.capture_id for job in tuple(self._jobs.values()) if job.given_up}
        return tuple(thread for capture_id, thread in tuple(self._threads.items()) if capture_id not in hung)

    def _give_up_what_hangs(self) -> None:
        """Each in a thread of its own, which may come to hang on the same."""
        for job in self._jobs.values():
            if job.hangs():
                threading.Thread(target=job.give_up, name=f"given-up-{job.capture_id[:8]}", daemon=True).start()

    def _take_up(self, kept: Kept) -> None:
        """Begins it once it is in the journal; without a journal it ends with that as its cause."""
        try:
            self._journal.keep(kept)
        except JournalFailed as error:
            self._begin(kept, CaptureReport(kept.order.capture_id, "", Phase.ENDED, fault=error.fault))
        else:
            self._begin(kept)

    def _begin(self, kept: Kept, end: CaptureReport | None = None) -> None:
        job = Job(
            kept,
            end,
            tools=self._tools,
            journal=self._journal,
            controller=self._controller,
            slots=self._slots,
            identity=(self._host, self.run_id),
            changed=self.wake,
        )
        thread = threading.Thread(target=job.run, name=f"capture-{job.capture_id[:8]}", daemon=True)
        self._jobs[job.capture_id] = job
        self._threads[job.capture_id] = thread
        thread.start()

    def _forget(self, recorded: CaptureReport) -> None:
        """Nobody needs to hear of it again, once all is given back and that was told too."""
        if recorded.held or self._threads[recorded.capture_id].is_alive():
            return
        self._journal.forget(recorded.capture_id)  # first: when that fails it is told and recorded once more
        del self._jobs[recorded.capture_id], self._threads[recorded.capture_id]


def _join(threads: Iterable[threading.Thread], deadline: float) -> None:
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
