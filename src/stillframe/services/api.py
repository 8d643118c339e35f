"""stillframe-api: checks and records what is wanted. Any number of them, over one database."""

from __future__ import annotations

from contextlib import ExitStack
from wsgiref.types import WSGIApplication

from stillframe.api.server import serve
from stillframe.config import Settings
from stillframe.messaging.bells import Bells
from stillframe.messaging.bus import Bus
from stillframe.services import apiside, control


def start(settings: Settings, stack: ExitStack) -> None:
    """Serves by itself, at the addresses of [api]."""
    settings.service.state_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    stack.enter_context(serve(compose(settings, stack), settings.api))


def compose(settings: Settings, stack: ExitStack) -> WSGIApplication:
    """The WSGI application."""
    bus = Bus(settings.messaging.transport_url, settings.oslo)
    stack.callback(bus.close)
    db = control.shared_database(settings, stack)
    images = control.images(settings)
    bells = Bells(bus)
    stack.callback(bells.close)
    return apiside.application_over(settings, db, bells, images, lambda: apiside.health(db, images))
