"""What a client finds out by itself."""

from __future__ import annotations

from stillframe.errors.base import StillframeError


class ServiceUnreachable(StillframeError):
    code, status = "service-unreachable", 503
    sentence = "Stillframe cannot be reached at {where}: {reason}."
    hint = "Start it with `stillframe up`, or name another by --socket, STILLFRAME_SOCKET or --os-cloud."


class SocketForbidden(StillframeError):
    code, status = "socket-forbidden", 403
    sentence = "The socket {where} may not be used by this user."
    hint = "Become root, or join the group that [api] socket_group names."


class UnexpectedAnswer(StillframeError):
    code, status = "unexpected-answer", 502
    sentence = "{where} answers like no Stillframe: {reason}."
    hint = "Check the address; something else may be listening there."


class NameAmbiguous(StillframeError):
    code, status = "name-ambiguous", 400
    sentence = "More than one {what} has the name {name}: {ids}."
    hint = "Give one of these ids instead of the name."


class ImageNotSaved(StillframeError):
    code, status = "image-not-saved", 507
    sentence = "Image {image} was not saved as {path}: {reason}."
    hint = "Nothing was left behind. Put right what it says and save it again."


class CaptureStillRunning(StillframeError):
    code, status = "still-running", 504
    sentence = "Capture {capture} has not ended within {seconds:g} seconds; it goes on."
    hint = "`stillframe capture watch {capture}` waits on, `stillframe capture cancel {capture}` ends it."
