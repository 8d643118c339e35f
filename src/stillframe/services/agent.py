"""stillframe-agent: the agent and its guard, one on each hypervisor. It knows no database."""

from __future__ import annotations

import threading
from contextlib import ExitStack

from stillframe.agent.lock import locked
from stillframe.config import Settings
from stillframe.messaging import bells
from stillframe.messaging.bus import Bus
from stillframe.messaging.remote import RemoteController
from stillframe.services import hostside


def start(settings: Settings, stack: ExitStack) -> None:
    """Starts the parts in order; the stack ends them in reverse."""
    stack.enter_context(locked(settings.service.state_dir))
    bus = Bus(settings.messaging.transport_url, settings.oslo)
    stack.callback(bus.close)
    bell = threading.Event()
    controller = RemoteController(bus, settings.messaging.call_timeout)
    tools = hostside.tools(settings, stack, controller)
    agent = hostside.agent(settings, stack, tools, controller, bell)
    stack.callback(bells.listen(bus, settings.service.host, bell))
    hostside.begin(settings, stack, agent, tools.store)
