"""What controllers and agents say to each other, whatever carries it.

Messages are hints. The agent's heartbeat carries the whole state of what it does, the answer all that it should do; a
lost, doubled or late message is mended by the next heartbeat, on the same road as recovery.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from stillframe.model import (
    Fault,
    ImageRequest,
    ImageResult,
    Instance,
    Instant,
    Phase,
    Progress,
    Step,
    Way,
    Wishes,
)


@dataclass(frozen=True, slots=True)
class Order:
    """A capture that the host should have in work."""

    capture_id: str
    instance_id: str
    images: tuple[ImageRequest, ...]  # the first is the capture's own: its id is capture_id
    wishes: Wishes
    request_id: str
    cancel: Fault | None = None  # why it shall stop; the agent releases and reports the end
    instant: Instant | None = None  # what an earlier attempt reported: another is never taken silently


@dataclass(frozen=True, slots=True)
class CaptureReport:
    """All that the agent knows of a capture in its hands; the newest report replaces the older."""

    capture_id: str
    attempt: str  # token of the attempt that speaks; empty while it has not begun
    phase: Phase
    steps: tuple[Step, ...] = ()
    progress: Progress = field(default_factory=Progress)
    way: Way | None = None
    instant: Instant | None = None
    images: tuple[ImageResult, ...] = ()  # all of them once completed
    fault: Fault | None = None  # with phase ENDED: why; without one it has completed
    held: tuple[str, ...] = ()  # leases that could not be given back yet, in words


@dataclass(frozen=True, slots=True)
class HostReport:
    """An agent's heartbeat."""

    host: str
    agent_run: str
    captures: tuple[CaptureReport, ...] = ()
    inventory_digest: str | None = None  # None: the hypervisor cannot be asked now, nothing is known
    inventory: tuple[Instance, ...] | None = None  # present when the controller does not know this digest
    sequence: int = 0  # counts this run's heartbeats from 1, so that a late one is known; 0: not counted
    agent_id: str = ""  # the same in every run of this agent; empty: a release that had none


@dataclass(frozen=True, slots=True)
class Orders:
    """The answer to a heartbeat: all that the host should be doing. What is not in it, nobody wants any more."""

    orders: tuple[Order, ...] = ()
    recorded: tuple[str, ...] = ()  # captures whose end is recorded: the agent may forget them
    send_inventory: bool = False


class ControllerApi(Protocol):
    """What an agent may ask of the controller. Where there is a broker between them, ControllerUnreachable too."""

    def heartbeat(self, report: HostReport) -> Orders:
        """Takes note of the report and says what should be done. Bounded by the host's own size.

        Raises HostTaken when another agent reports as this host.
        """

    def begin(self, capture_id: str, host: str, agent_run: str) -> str:
        """Starts an attempt and ends any earlier one: the token that commit and reports need.

        Asked again by the same run of the agent, as when the answer was lost, it is the same attempt.
        Raises Superseded when the capture has ended, was cancelled, or is another host's.
        """

    def commit(self, capture_id: str, attempt: str) -> None:
        """The one decision whether this attempt may publish; asking again after a yes is a yes again.

        Raises Superseded when cancel, deletion, failure or another attempt came first.
        """

    def stand_still(self, capture_id: str, attempt: str) -> bool:
        """Says that the guest stands still, so that Cinder may take the snapshots of its volumes.

        Asked again and again until they are there. Raises Superseded when the capture is to stop, InstantLost
        when what was taken is not of this attempt.
        """


class AgentApi(Protocol):
    """What a controller may ask of an agent."""

    def wake(self, host: str) -> None:
        """A hint that a heartbeat now would find new orders. Never blocks, never fails."""
