"""What the commands exit with, so that scripts can tell what happened without reading the words."""

from __future__ import annotations

from enum import IntEnum

from stillframe.errors.base import StillframeError
from stillframe.errors.client import CaptureStillRunning, ImageNotSaved


class Interrupted(Exception):  # noqa: N818  (nothing failed)
    """Ctrl-C while waiting, with what to tell about what goes on."""


class Exit(IntEnum):
    """Exit codes; they never change their meaning."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    UNREACHABLE = 5
    NOT_PERMITTED = 6
    NOT_SAVED = 7
    STILL_RUNNING = 8
    INTERRUPTED = 130
    TERMINATED = 143


MEANINGS: dict[Exit, str] = {
    Exit.OK: "done",
    Exit.FAILED: "the capture that was waited for failed or was cancelled; or an unforeseen failure",
    Exit.USAGE: "wrong arguments, a wrong value, or a name that several have",
    Exit.NOT_FOUND: "no such server, capture or image",
    Exit.REFUSED: "refused in the present state: the server is being captured, the capture has ended, ...",
    Exit.UNREACHABLE: "the service cannot be reached or is not ready",
    Exit.NOT_PERMITTED: "not signed in, or policy does not allow it",
    Exit.NOT_SAVED: "the image could not be written here, or what was received is not the image",
    Exit.STILL_RUNNING: "--timeout is over, the capture goes on",
    Exit.INTERRUPTED: "interrupted by Ctrl-C; a capture that was waited for goes on",
    Exit.TERMINATED: "terminated by SIGTERM",
}

EPILOG = "Exit codes:\n" + "\n".join(f"  {code:>3}  {meaning}" for code, meaning in MEANINGS.items())

_BY_STATUS = {
    401: Exit.NOT_PERMITTED,
    403: Exit.NOT_PERMITTED,
    404: Exit.NOT_FOUND,
    409: Exit.REFUSED,
    502: Exit.UNREACHABLE,
    503: Exit.UNREACHABLE,
    504: Exit.UNREACHABLE,
}


def exit_of(error: StillframeError) -> Exit:
    """The exit code for a failure of a request: by what it is, else by its HTTP status."""
    if isinstance(error, ImageNotSaved):
        return Exit.NOT_SAVED
    if isinstance(error, CaptureStillRunning):
        return Exit.STILL_RUNNING
    default = Exit.USAGE if 400 <= error.fault.status < 500 else Exit.FAILED
    return _BY_STATUS.get(error.fault.status, default)
