"""A running guest into a real Glance: our capture, `curl -T` of the same bytes, and Nova's passes into the same Glance.

    python -m bench glance

Nova's last pass is that `curl -T` too, which is faster than Nova's own upload in chunks of unknown length.
"""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import requests

from bench.experiment import GIB, MIB, Experiment, Options
from bench.ground import Saved, ground, saved
from bench.live import make_disk
from bench.nova_way import NovaWay
from bench.quiet import Say, Share, Timed, calm, timed, turns
from bench.results import Result
from lab import blocks
from lab.disks import GuestDisk
from lab.domains import Guest, NovaMetadata
from lab.openstack.glance import PLAIN
from lab.openstack.keystone import USERS
from lab.openstack.stage import Stage
from lab.service import Service
from lab.tools import tool

DATA = 1 * GIB
RUNS = 3
# A guest that leaves Glance its processor: emulated, a busy one would take it from Glance while a capture uploads.
WRITER = blocks.autorun(check=False, pause_us=20_000, report_ms=1000)
ALICE = USERS[0]
TIMEOUT = 600.0  # seconds of one upload
CASES = ("glance-capture-vs-curl", "glance-capture-vs-nova-way")


@dataclass(frozen=True, slots=True)
class Ours:
    """One capture."""

    saved: Saved
    disturbed: float  # what part of the processors' time others had meanwhile

    def __str__(self) -> str:
        record = self.saved.record
        created, started, ended = (_at(record[name]) for name in ("created_at", "started_at", "ended_at"))
        last = _at(record["steps"][-1]["ended_at"])
        asked = self.saved.seconds - (ended - created)
        spans = [("asked", asked), ("waited", started - created)]
        spans += [(step["name"], _at(step["ended_at"]) - _at(step["started_at"])) for step in record["steps"]]
        told = ", ".join(f"{name} {span:.1f}" for name, span in [*spans, ("ended", ended - last)])
        return f"{self.saved.seconds:.2f} s ({told})"


@dataclass(frozen=True, slots=True)
class Turn:
    """Each way once."""

    ours: Ours
    curl: Timed
    nova: Timed


@dataclass(frozen=True, slots=True)
class Subject:
    """The guest that is saved, by whom, and where the image goes."""

    directory: Path
    stage: Stage
    service: Service
    guest: Guest
    disk: GuestDisk
    base: GuestDisk

    def turn(self, say: Say) -> Turn:
        """Each way, one after the other."""
        ours = calm("ours", self.ours, say)
        return Turn(ours, calm("curl", self.curl_alone, say), calm("nova", self.nova, say))

    def ours(self) -> Ours:
        """One capture; the image's bytes are left in a file of ours."""
        share = Share()
        done = saved(self.service, self.guest, self.begin)
        disturbed = share.taken()
        shutil.copyfile(self.stage.glance.data[PLAIN] / done.record["id"], self.copy)
        self.delete(done.record["id"])
        return Ours(done, disturbed)

    def curl_alone(self) -> Timed:
        """An upload of the same bytes and nothing else."""
        made = self.record()
        try:
            return timed(lambda: self.curl(self.copy, made))
        finally:
            self.delete(made)

    def nova(self) -> Timed:
        """An image made as Nova makes it."""
        way = NovaWay(self.guest, self.disk, self.base, self.directory)
        made = self.record()
        share = Share()
        try:
            return Timed(way.passes(lambda flat: self.curl(flat, made)).seconds, share.taken())
        finally:
            way.clear()
            self.delete(made)

    @property
    def copy(self) -> Path:
        """Where the bytes of the last image are."""
        return self.directory / "image"

    def begin(self, _service: Service, guest: Guest) -> str:
        """Asks for a capture as a user: images in Glance are made with their user's token."""
        url = f"http://127.0.0.1:{self.stage.port}/v2.1/captures"
        body = {"capture": {"server_id": guest.id, "name": "image"}}
        answer = requests.post(url, json=body, headers={"X-Auth-Token": self.token()}, timeout=30)
        answer.raise_for_status()
        return str(answer.json()["capture"]["id"])

    def record(self) -> str:
        """The id of a new image without data."""
        body = {"id": str(uuid.uuid4()), "name": "curl", "disk_format": "qcow2", "container_format": "bare"}
        answer = self.cloud().image.post("/images", json=body)
        answer.raise_for_status()
        return body["id"]

    def curl(self, file: Path, image_id: str) -> None:
        """Sends a file as an image's data."""
        url = f"{self.stage.glance.url}/v2/images/{image_id}/file"
        headers = {
            "X-Auth-Token": self.token(),
            "Content-Type": "application/octet-stream",
            "x-openstack-image-size": str(file.stat().st_size),
        }
        words = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
        tool("curl", "--silent", "--show-error", "--fail", "-T", file, *words, url, timeout=TIMEOUT)

    def delete(self, image_id: str) -> None:
        """Deletes an image."""
        self.cloud().image.delete_image(image_id)

    def token(self) -> str:
        """A user's."""
        return str(self.cloud().session.get_token())

    def cloud(self) -> Any:
        """The user's connection."""
        return self.stage.keystone.connect(ALICE)


def run(options: Options) -> list[Result]:
    """The turns, and what they say."""
    runs, data = options.runs(RUNS), options.data(DATA)
    with ground(options.directory) as place:
        place.directory.chmod(0o755)  # Keystone and Glance are nobody's
        options.say("starting Keystone and Glance")
        with Stage(place.directory / "stage") as stage:
            options.say(f"making a disk with {data // MIB} MiB of data")
            disk, base = make_disk(place.directory, data, WRITER)
            owner = NovaMetadata(name="db", project_id=stage.keystone.project_id(ALICE.project))
            with place.service(place.directory / "service", stage.options()) as service:
                guest = place.guests.writing(disk, nova=owner)
                subject = Subject(place.directory, stage, service, guest, disk, base)
                options.say("to warm up, since services load much with their first requests")
                subject.turn(options.say)
                gone = turns(subject.turn, runs, options.say)
    ours = [turn.ours.saved.seconds for turn in gone]
    of = Result.of
    return [
        of(CASES[0], ours, [turn.curl.seconds for turn in gone], "s", "curl -T of the same bytes"),
        of(CASES[1], ours, [turn.nova.seconds for turn in gone], "s", "mirror, convert, curl -T"),
    ]


def _at(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


EXPERIMENT = Experiment("glance", CASES, run)
