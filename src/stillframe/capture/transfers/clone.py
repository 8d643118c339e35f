"""Transfer `clone`: the image shares the blocks of a copy that already does; no byte moves."""

from __future__ import annotations

from pathlib import Path

from stillframe import qcow2header
from stillframe.capture.held import HeldDisk, Hold
from stillframe.capture.leases import HalfImage
from stillframe.capture.subject import Subject
from stillframe.capture.tools import Tools
from stillframe.capture.transfers.content import refuse_disguise
from stillframe.capture.work import Work
from stillframe.disks import reflink
from stillframe.errors.capture import WayClosed, WriteFailed
from stillframe.images import inspection
from stillframe.model import ImageResult

FROM = ("reflink", "offline")


class Clone:
    """The transfer within one filesystem that shares blocks."""

    name = "clone"

    def obstacle(self, subject: Subject, source: str, tools: Tools) -> str | None:
        """Every disk is one file, of the image's format, on the image store's filesystem."""
        if source not in FROM:
            return "there is no file to share"
        for wanted in subject.wanted:
            disk = wanted.disk
            if disk.encryption and disk.top.format != "raw":
                return f"{disk.target} is encrypted ({disk.encryption}), and its file would stay so"
            if len(disk.chain) > 1:
                return f"{disk.target} has a backing file, and the image must stand alone"
            if disk.top.format != wanted.disk_format:
                return f"{disk.target} is {disk.top.format}, and the image is to be {wanted.disk_format}"
            obstacle = reflink.obstacle(Path(disk.top.path), tools.directory.path)
            if obstacle:
                return f"in the images directory, {obstacle}"
        return None

    def run(self, work: Work, hold: Hold) -> tuple[ImageResult, ...]:
        """Shares each copy once more, as the image's file."""
        with work.timeline.step("clone"):
            return tuple(_clone(work, held) for held in hold.disks)


def _clone(work: Work, held: HeldDisk) -> ImageResult:
    wanted, store = held.wanted, work.tools.directory
    if held.files is None or not held.own:
        raise WayClosed(way="clone", reason="the source has no copy of its own to share")
    source = Path(held.files.top.path)
    with source.open("rb") as file:
        head = file.read(inspection.HEAD)
    refuse_disguise(head, wanted.disk_format)
    if wanted.disk_format == "qcow2" and qcow2header.parse(head).snapshots:
        raise WayClosed(way="clone", reason="the disk's file holds internal snapshots, which are not to be published")
    part = store.part(wanted.image.id)
    try:
        with work.leases.taking(HalfImage(wanted.image.id)):
            store.discard(wanted.image.id)
            reflink.reflink(source, part)
    except WriteFailed as error:
        reason, operator = error.fault.message.rstrip("."), error.fault.operator
        raise WayClosed(way="clone", reason=reason, operator=operator) from error
    return ImageResult(wanted.image.id, wanted.disk_format, part.stat().st_size, wanted.disk.size)
