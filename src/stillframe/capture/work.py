"""One attempt at a capture: all that its steps need, handed from one to the next."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from stillframe.capture.leases import Leases, SocketDirectory
from stillframe.capture.subject import Subject
from stillframe.capture.timeline import Timeline
from stillframe.capture.tools import Tools
from stillframe.capture.uploads import Uploads
from stillframe.datapath.control import Control
from stillframe.messaging.contract import ControllerApi

SOCKET = "nbd.sock"  # in a directory of its own


@dataclass(frozen=True, slots=True)
class Work:
    """What is captured, what is held for it, what is told of it, and how it is stopped."""

    subject: Subject
    leases: Leases
    timeline: Timeline
    control: Control
    tools: Tools
    attempt: str  # its token
    uploads: Uploads
    controller: ControllerApi

    @property
    def capture_id(self) -> str:
        """The capture's id, which is that of its first image."""
        return self.subject.capture_id

    def socket_path(self) -> Path:
        """Where a socket may be made: in a new directory of random name that only its owner may enter."""
        directory = self.tools.run_dir / secrets.token_hex(6)  # short: a socket's path has 107 bytes at most
        with self.leases.taking(SocketDirectory(str(directory))):
            directory.mkdir(mode=0o700)
        return directory / SOCKET
