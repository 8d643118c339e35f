"""Transfer `record`: an image without data. Its record names Cinder's snapshots, which have the bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from stillframe.capture.held import Hold
from stillframe.capture.publication import attested, image_of
from stillframe.capture.subject import Subject
from stillframe.capture.tools import Tools
from stillframe.capture.work import Work
from stillframe.images.glancestore import GlanceStore
from stillframe.images.upload import Destination
from stillframe.model import ImageResult


class Record:
    """The transfer of nothing into Glance: that alone makes an image active there."""

    name = "record"

    def obstacle(self, subject: Subject, source: str, tools: Tools) -> str | None:  # noqa: ARG002
        """None: the API has made sure that images go to Glance."""
        return None

    def run(self, work: Work, hold: Hold) -> tuple[ImageResult, ...]:
        """Describes the image; the empty upload that publishes it waits for commit."""
        [wanted] = work.subject.wanted
        store, options = work.tools.glance, work.tools.options
        result = ImageResult(wanted.image.id, "raw", 0, 0)
        image = image_of(wanted.image, attested(wanted.image, result, hold), hold.instant)
        with work.timeline.step("record") as step:
            ticket = store.open(work.capture_id, work.attempt, image, work.control.sleep)
            to = Destination(image.id, 0, ticket.backend, work.subject.request_id)
            work.uploads.keep(image.id, _Nothing(store, to, options.transfer_stall))
            step.note("no data: these are in Cinder's snapshots")
        return (replace(result, hashes={ticket.algorithm: hashlib.new(ticket.algorithm).hexdigest()}),)


@dataclass(frozen=True, slots=True)
class _Nothing:
    """An upload of no byte, which is over as soon as it begins: so it begins when it may be completed."""

    store: GlanceStore
    to: Destination
    stall: float

    def complete(self) -> None:
        self.store.upload(self.to, self.stall).complete()

    def abort(self) -> None:
        pass
