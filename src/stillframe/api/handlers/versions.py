"""The version documents; nobody needs to sign in for them."""

from __future__ import annotations

from stillframe.api.call import HIGHEST, Answer, Call, Version
from stillframe.api.deps import Deps
from stillframe.api.views import versions as views
from stillframe.nova.microversions import Microversions


class Versions:
    """GET /, /v2.1/, /v2/. Beside Nova nothing is announced that only one of the two understands."""

    def __init__(self, deps: Deps) -> None:
        self._novas = Microversions(deps.relay) if deps.relay is not None else None

    def compute(self, call: Call) -> Answer:
        """GET /"""
        return Answer(views.compute(call.base, self._highest()))

    def current(self, call: Call) -> Answer:
        """GET /v2.1/"""
        return Answer(views.compute_version(call.base, "v2.1", self._highest()))

    def legacy(self, call: Call) -> Answer:
        """GET /v2/"""
        return Answer(views.compute_version(call.base, "v2.0", self._highest()))

    def _highest(self) -> Version:
        highest = self._novas.highest() if self._novas is not None else None
        return min(HIGHEST, Version(*highest)) if highest else HIGHEST


def image_choices(call: Call) -> Answer:
    """GET /image/: Glance answers 300 here."""
    return Answer(views.image(call.base), status=300)


def image(call: Call) -> Answer:
    """GET /image/versions"""
    return Answer(views.image(call.base))
