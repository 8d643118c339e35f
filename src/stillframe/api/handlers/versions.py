"""The version documents; nobody needs to sign in for them."""

from __future__ import annotations

from stillframe.api.call import Answer, Call
from stillframe.api.views import versions as views


def compute(call: Call) -> Answer:
    """GET /"""
    return Answer(views.compute(call.base))


def compute_current(call: Call) -> Answer:
    """GET /v2.1/"""
    return Answer(views.compute_version(call.base, "v2.1"))


def compute_legacy(call: Call) -> Answer:
    """GET /v2/"""
    return Answer(views.compute_version(call.base, "v2.0"))


def image_choices(call: Call) -> Answer:
    """GET /image/: Glance answers 300 here."""
    return Answer(views.image(call.base), status=300)


def image(call: Call) -> Answer:
    """GET /image/versions"""
    return Answer(views.image(call.base))
