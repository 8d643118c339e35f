"""What Nova answers, or does not."""

from __future__ import annotations

from stillframe.errors.base import StillframeError


class NovaUnreachable(StillframeError):
    code, status = "nova-unreachable", 502
    sentence = "Nova cannot be reached: {reason}."
    hint = "Check that Nova's API runs, and where [nova] and the catalogue say that it is."


class NovaSilent(StillframeError):
    code, status = "nova-silent", 504
    sentence = "Nova has not answered within {seconds:g} seconds."
    hint = "What was asked for may still be done. [nova] timeout is how long its answers are waited for."


class NovaIsHere(StillframeError):
    code, status = "nova-is-here", 508
    sentence = "What was to be passed on to Nova has come back to Stillframe."
    hint = "Set [nova] endpoint_override to Nova's own URL: the catalogue's leads here."


class NovaFailed(StillframeError):
    code, status = "nova-failed", 502
    sentence = "Nova could not {what}: it answered {answer}."
    hint = "Nova's log tells more; the operator's part has its words."


class NovaForbids(StillframeError):
    code, status = "nova-forbids", 502
    sentence = "Nova does not let Stillframe {what}."
    hint = "The user of [service_user] needs a role that Nova's policy accepts: see the guide for a cloud."


class NovaInterferes(StillframeError):
    code, status = "nova-interferes", 409
    sentence = "The capture was given up, since Nova began something else with instance {instance}: {task}."
    hint = "Capture it again when Nova has finished."


class LockNotMade(StillframeError):
    code, status = "lock-not-made", 503
    sentence = (
        "Nova's server {instance} was not locked within {seconds:g} seconds: the API process that was to do so died."
    )
    hint = "Capture it again."
