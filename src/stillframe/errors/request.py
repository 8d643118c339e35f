"""What the caller got wrong."""

from __future__ import annotations

from stillframe.errors.base import StillframeError


class BadRequest(StillframeError):
    code, status = "bad-request", 400
    sentence = "{reason}"
    hint = "Correct the request and send it again."


class NotSignedIn(StillframeError):
    code, status = "not-signed-in", 401
    sentence = "This request needs a user name and a password."
    hint = "Sign in, or use the service's Unix socket on its own host."


class Forbidden(StillframeError):
    code, status = "forbidden", 403
    sentence = "Policy does not allow {rule} to be performed."
    hint = "Ask an administrator for a role that the policy accepts."


class QuotaExceeded(StillframeError):
    code, status = "quota-exceeded", 403
    sentence = "{what} limit exceeded: {given} given, {limit} allowed."
    hint = "Send fewer."


class InstanceNotFound(StillframeError):
    code, status = "instance-not-found", 404
    sentence = "Instance {instance} could not be found."
    hint = "`stillframe server list` shows the instances of this project."


class CaptureNotFound(StillframeError):
    code, status = "capture-not-found", 404
    sentence = "Capture {capture} could not be found."
    hint = "`stillframe capture list` shows the captures of this project."


class ImageNotFound(StillframeError):
    code, status = "image-not-found", 404
    sentence = "No image found with ID {image}"
    hint = "`stillframe image list` shows the images of this project."


class NotFound(StillframeError):
    code, status = "not-found", 404
    sentence = "{what} could not be found."
    hint = "Check the spelling and the id."


class VersionNotSupported(StillframeError):
    code, status = "version-not-supported", 406
    sentence = "Version {version} is not supported by the API. Minimum is {minimum} and maximum is {maximum}."
    hint = "Ask for a microversion between the two, or for `latest`."


class RequestTooLarge(StillframeError):
    code, status = "request-too-large", 413
    sentence = "The request's body is larger than {limit} bytes."
    hint = "Send less at once."


class ImageFailed(StillframeError):
    code, status = "image-failed", 404
    sentence = "No image found with ID {image}: its capture {outcome}."
    hint = "`stillframe capture show {image}` tells how it went."


class TooManyDownloads(StillframeError):
    code, status = "too-many-downloads", 503
    sentence = "{limit} images are being downloaded already, which is the most at once."
    hint = "Wait for one of them to end, or raise [api] threads: half of them may serve downloads."


class WrongState(StillframeError):
    code, status = "wrong-state", 409
    sentence = "Cannot '{action}' instance {instance} while it is in {attribute} {value}"
    hint = "Wait until the instance's state has changed; `stillframe server show {instance}` tells it."


class CaptureEnded(StillframeError):
    code, status = "capture-ended", 409
    sentence = "Capture {capture} has already ended or is being published: it is {state}."
    hint = "Delete the image instead."
