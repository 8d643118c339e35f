"""Glance as an agent sees it: data are uploaded from here, and every record is the controller's to touch."""

from __future__ import annotations

import time
from collections.abc import Callable

from stillframe.cloudoptions import Glance as Options
from stillframe.errors.glance import GlanceFailed, GlanceUnreachable, ImageForbidden, ImageIncomplete, ImageStuck
from stillframe.errors.patience import Patience
from stillframe.errors.request import ImageNotFound
from stillframe.errors.service import ControllerUnreachable
from stillframe.images.desk import ImagesApi
from stillframe.images.glance import Glance
from stillframe.images.upload import Destination, Upload
from stillframe.model import Image, Ticket

POLL = 0.5  # seconds between two looks at a record that Glance has in hand
IN_HAND = ("saving", "importing")  # states of a record that become another one by themselves
AWAY = (GlanceUnreachable.code, GlanceFailed.code, ControllerUnreachable.code)  # Glance, or who asks it

Sleep = Callable[[float], object]  # may raise, to end the waiting


class GlanceStore:
    """A store that takes uploads; any number of threads."""

    def __init__(self, glance: Glance, controller: ImagesApi, options: Options, patience: float) -> None:
        """`patience`: seconds that a Glance is waited for that does not answer the controller."""
        self._glance = glance
        self._controller = controller
        self._options = options
        self._patience = Patience(patience, AWAY, POLL)

    @property
    def retries(self) -> int:
        """How often an upload begins again."""
        return self._options.retries

    def check(self) -> None:
        """Cheap, for health checks; raises GlanceUnreachable."""
        self._glance.url()

    # -------------------------------------------------------------------------------------------------- uploading

    def open(self, capture_id: str, attempt: str, image: Image, sleep: Sleep) -> Ticket:
        """Waits until the record takes data; raises ImageStuck when it does not, ImageDeleted, Superseded."""
        deadline = time.monotonic() + self._options.stuck_after
        while True:
            ticket = self._patience.ask(lambda: self._controller.open_upload(capture_id, attempt, image), sleep)
            if ticket.state == "queued":
                return ticket
            if time.monotonic() >= deadline:
                raise ImageStuck(image=image.id, state=ticket.state, seconds=self._options.stuck_after)
            sleep(POLL)

    def upload(self, to: Destination, stall: float) -> Upload:
        """Begins to send an image's data; raises UploadCutOff, GlanceUnreachable, ImageForbidden.

        Looks at the image first: that renews a token which is not good any more, and a user who may not do this is
        told before the first byte. Servers may read a whole upload before they refuse it.
        """
        try:
            self._glance.get(to.image_id)
        except ImageNotFound as error:
            reason = "this host's [service_user] does not see it"
            raise ImageForbidden(what=f"take the data of image {to.image_id}", reason=reason) from error
        return Upload(self._glance, to, stall)

    # ------------------------------------------------------------------------------------------------- publishing

    def location_obstacle(self, fsid: str, pool: str) -> str | None:
        """None: what stands against a location in this pool of this Ceph cluster is raised."""
        self._controller.expect_location(fsid, pool)
        return None

    def publish(self, image: Image) -> None:
        """Makes sure that Glance has the image as it was sent, or with the location that it has.

        Raises ImageIncomplete, ImageDiffers, ImageDeleted, LocationRefused.
        """
        deadline = time.monotonic() + self._options.stuck_after
        while (state := self._patience.ask(lambda: self._controller.publish_image(image), time.sleep)) != "active":
            if state not in IN_HAND or time.monotonic() >= deadline:
                raise ImageIncomplete(image=image.id, state=state)
            time.sleep(POLL)

    def published(self, image_id: str) -> bool:
        """Whether everybody sees it."""
        return self._patience.ask(lambda: self._controller.image_published(image_id), time.sleep)

    def withdraw(self, image: Image) -> None:
        """Nothing: a capture's record is taken back by the controller when the capture fails."""

    def discard(self, image_id: str) -> None:
        """Nothing is here."""
