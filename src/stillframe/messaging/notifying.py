"""Notices over RabbitMQ, on the topics and in the envelope of oslo.messaging's notifications."""

from __future__ import annotations

import uuid
from typing import Any

from oslo_config import cfg

from stillframe.config import Notifications
from stillframe.messaging import nova
from stillframe.messaging.bus import Target, Within, notification_transport
from stillframe.messaging.notices import Event, Notice

SEND_SECONDS = 10.0  # for one notification; what was not sent by then is sent again
PUBLISHER = "nova-compute"  # what listeners to Nova's notifications look for


class Notifying:
    """`driver = messaging`. Told twice, a notification has the same message_id."""

    def __init__(self, options: Notifications, conf: cfg.ConfigOpts) -> None:
        """Connects when it is first used. Raises ConfigInvalid."""
        self._format = options.format
        self._transport = notification_transport(options.transport_url, conf)
        self._within = Within()

    def tell(self, notice: Notice) -> None:
        """See Notifier."""
        level = "error" if notice.event is Event.ERROR else "info"
        if self._format in ("versioned", "both"):
            event = f"instance.snapshot.{notice.event}"
            self._send("versioned_notifications", level, event, nova.versioned(notice), notice)
        if self._format in ("unversioned", "both") and notice.event is not Event.ERROR:
            event = f"compute.instance.snapshot.{notice.event}"
            self._send("notifications", level, event, nova.unversioned(notice), notice)

    def close(self) -> None:
        """Lets go of the broker."""
        self._within.no_matter(self._transport.cleanup)

    def _send(self, topic: str, level: str, event: str, payload: dict[str, Any], notice: Notice) -> None:
        message = {
            "message_id": str(uuid.uuid5(uuid.UUID(notice.image_id), event)),
            "publisher_id": f"{PUBLISHER}:{notice.host}",
            "event_type": event,
            "priority": level.upper(),
            "payload": payload,
            "timestamp": str(notice.at.replace(tzinfo=None)),
        }
        target = Target(topic=f"{topic}.{level}")
        # not the library's Notifier: it logs what it could not send, and forgets it
        send = self._transport._send_notification  # noqa: SLF001
        self._within.seconds(SEND_SECONDS, lambda: send(target, {}, message, version=2.0, retry=0))
