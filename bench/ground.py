"""Where experiments with real guests take place: a directory, a libvirtd, guests, the service."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.experiment import MIB
from lab import captures
from lab.domains import Guest
from lab.factory import Guests
from lab.libvirtd import PrivateLibvirtd
from lab.service import Options, Service
from lab.wait import until

POLL = 0.25  # seconds between two looks at a capture: looking takes time from the service
DEADLINE = 600.0
# the lab's services say more, and beat more often
AS_USUAL: Options = {
    "DEFAULT": {"log_level": "INFO"},
    "agent": {"heartbeat": 10},
}


Begin = Callable[..., str]  # asks for a capture, as captures.begin does


@dataclass(frozen=True, slots=True)
class Ground:
    """One experiment's own."""

    directory: Path
    host: PrivateLibvirtd
    guests: Guests

    @contextmanager
    def service(self, directory: Path, options: Options | None = None) -> Iterator[Service]:
        """The service with its state, images included, in this directory; `options`: further groups of them."""
        with Service(directory, self.host, {**AS_USUAL, **(options or {})}) as service:
            yield service


@contextmanager
def ground(parent: Path) -> Iterator[Ground]:
    """A new ground; nothing of it is left afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="sfb-", dir=parent))  # short: sockets lie in it
    try:
        with PrivateLibvirtd(directory / "host") as host:
            guests = Guests(host, directory)
            try:
                yield Ground(directory, host, guests)
            finally:
                guests.remove()
    finally:
        shutil.rmtree(directory)


@dataclass(frozen=True, slots=True)
class Saved:
    """A capture that has ended well."""

    seconds: float  # from before the request to the end that the service recorded
    idle: float  # seconds from that end until we noticed
    record: dict[str, Any]

    @property
    def data(self) -> int:
        """Bytes that were read from the disk; 0 where none moved."""
        return sum(step["bytes"] or 0 for step in self.record["steps"])


def saved(service: Service, guest: Guest, begin: Begin = captures.begin, **wishes: Any) -> Saved:
    """Saves the guest once; the image is the caller's to remove."""
    captures.known(service, guest)
    began = time.time()
    identity = begin(service, guest, **wishes)
    until(
        lambda: captures.record(service, identity)["status"] in captures.FINAL,
        DEADLINE, f"the end of capture {identity}", pause=POLL,
    )  # fmt: skip
    noticed = time.time()
    record = captures.completed(service, identity)
    ended = datetime.fromisoformat(record["ended_at"]).timestamp()
    return Saved(ended - began, noticed - ended, record)


def remove_images(service: Service, record: dict[str, Any]) -> None:
    """Deletes the images of a capture through the API."""
    for image in record["images"]:
        answer = service.request("DELETE", f"/image/v2/images/{image['id']}")
        if answer.status != 204:
            raise RuntimeError(f"image {image['id']} was not deleted: {answer.status} {answer.body}")


def random_file(path: Path, size: int) -> Path:
    """A new file of bytes that nothing can make shorter."""
    with path.open("xb") as file:
        for place in range(0, size, 8 * MIB):
            file.write(os.urandom(min(8 * MIB, size - place)))
    return path
