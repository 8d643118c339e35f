"""The controller's calls over RabbitMQ: any controller may answer an agent."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from stillframe import records
from stillframe.errors.service import ConfigInvalid
from stillframe.messaging import wire
from stillframe.messaging.bus import EXCHANGE, Bus, Target
from stillframe.messaging.contract import ControllerApi, HostReport, Orders
from stillframe.model import Image, Ticket

TOPIC = "stillframe-controller"
PING_SECONDS = 5.0


class RemoteController:
    """ControllerApi and ImagesApi for an agent. All may also raise ControllerUnreachable; asking again does no harm."""

    def __init__(self, bus: Bus, timeout: float) -> None:
        """`timeout` in seconds, for each call."""
        self._bus = bus
        self._timeout = timeout

    def heartbeat(self, report: HostReport) -> Orders:
        """See ControllerApi."""
        return records.load(Orders, self._call("heartbeat", "1.0", report=records.dump(report)))

    def begin(self, capture_id: str, host: str, agent_run: str) -> str:
        """See ControllerApi."""
        return str(self._call("begin", "1.0", capture_id=capture_id, host=host, agent_run=agent_run))

    def commit(self, capture_id: str, attempt: str) -> None:
        """See ControllerApi."""
        self._call("commit", "1.0", capture_id=capture_id, attempt=attempt)

    def stand_still(self, capture_id: str, attempt: str) -> bool:
        """See ControllerApi."""
        return bool(self._call("stand_still", "1.3", capture_id=capture_id, attempt=attempt))

    def open_upload(self, capture_id: str, attempt: str, image: Image) -> Ticket:
        """See stillframe.images.desk.ImagesApi."""
        asked = self._call("open_upload", "1.1", capture_id=capture_id, attempt=attempt, image=records.dump(image))
        return records.load(Ticket, asked)

    def expect_location(self, fsid: str, pool: str) -> None:
        """See stillframe.images.desk.ImagesApi."""
        self._call("expect_location", "1.2", fsid=fsid, pool=pool)

    def publish_image(self, image: Image) -> str:
        """See stillframe.images.desk.ImagesApi."""
        return str(self._call("publish_image", "1.1", image=records.dump(image)))

    def image_published(self, image_id: str) -> bool:
        """See stillframe.images.desk.ImagesApi."""
        return bool(self._call("image_published", "1.1", image_id=image_id))

    def _call(self, method: str, since: str, **arguments: Any) -> Any:
        target = Target(exchange=EXCHANGE, topic=TOPIC, version=since)
        return wire.value(self._bus.call(target, method, arguments, self._timeout))


class Desk(Protocol):
    """What a controller answers about images in Glance: see stillframe.images.desk.ImagesApi."""

    def open_upload(self, capture_id: str, attempt: str, image: Image) -> Ticket:
        """See there."""

    def expect_location(self, fsid: str, pool: str) -> None:
        """See there."""

    def publish_image(self, image: Image) -> str:
        """See there."""

    def image_published(self, image_id: str) -> bool:
        """See there."""


class _Endpoint:
    """What oslo.messaging finds the calls on."""

    target = Target(version=wire.VERSION)

    def __init__(self, controller: ControllerApi, desk: Desk | None) -> None:
        self._controller = controller
        self._desk = desk

    def heartbeat(self, _context: object, report: dict[str, Any]) -> wire.Answer:
        return wire.answered(lambda: records.dump(self._controller.heartbeat(records.load(HostReport, report))))

    def begin(self, _context: object, capture_id: str, host: str, agent_run: str) -> wire.Answer:
        return wire.answered(lambda: self._controller.begin(capture_id, host, agent_run))

    def commit(self, _context: object, capture_id: str, attempt: str) -> wire.Answer:
        return wire.answered(lambda: self._controller.commit(capture_id, attempt))

    def stand_still(self, _context: object, capture_id: str, attempt: str) -> wire.Answer:
        return wire.answered(lambda: self._controller.stand_still(capture_id, attempt))

    def open_upload(self, _context: object, capture_id: str, attempt: str, image: dict[str, Any]) -> wire.Answer:
        return wire.answered(
            lambda: records.dump(self._at_desk().open_upload(capture_id, attempt, records.load(Image, image)))
        )

    def expect_location(self, _context: object, fsid: str, pool: str) -> wire.Answer:
        return wire.answered(lambda: self._at_desk().expect_location(fsid, pool))

    def publish_image(self, _context: object, image: dict[str, Any]) -> wire.Answer:
        return wire.answered(lambda: self._at_desk().publish_image(records.load(Image, image)))

    def image_published(self, _context: object, image_id: str) -> wire.Answer:
        return wire.answered(lambda: self._at_desk().image_published(image_id))

    def _at_desk(self) -> Desk:
        if self._desk is None:
            raise ConfigInvalid(reason="the agent's [images] store is glance, and the controller's is not")
        return self._desk

    def ping(self, _context: object) -> wire.Answer:
        return wire.answered(lambda: None)


def serve(bus: Bus, controller: ControllerApi, name: str, desk: Desk | None = None) -> Callable[[], None]:
    """Answers agents, side by side with all other controllers; what it returns ends it. `name` is this one's own.

    `desk`: where images go to Glance.
    """
    return bus.serve(Target(exchange=EXCHANGE, topic=TOPIC, server=name), _Endpoint(controller, desk))


class Hearing:
    """Whether a controller hears itself over RabbitMQ, and a clock that goes on only while it does.

    So no host counts as silent for a broker that was away.
    """

    def __init__(self, bus: Bus, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`name` as it was given to `serve`."""
        self._bus = bus
        self._target = Target(exchange=EXCHANGE, topic=TOPIC, server=name, version="1.0")
        self._clock = clock
        self._heard_at: float | None = None
        self._heard = 0.0

    def clock(self) -> float:
        """Seconds between checks that both succeeded."""
        return self._heard

    def check(self) -> None:
        """Asks itself; raises ControllerUnreachable when that is not heard. For one thread."""
        before, self._heard_at = self._heard_at, None
        self._bus.call(self._target, "ping", {}, PING_SECONDS)
        self._heard_at = self._clock()
        if before is not None:
            self._heard += self._heard_at - before
