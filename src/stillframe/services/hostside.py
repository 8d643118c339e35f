"""The parts of a hypervisor's host: libvirt, guard, images, journal, agent."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from stillframe.agent.guardlink import GuardLink
from stillframe.agent.identity import identity
from stillframe.agent.journal import Journal
from stillframe.agent.service import AgentService
from stillframe.capture.flattening import Flattening
from stillframe.capture.stillness import Stillness
from stillframe.capture.tools import Store, Tools
from stillframe.config import IN_GLANCE, Settings
from stillframe.disks.ceph import Ceph
from stillframe.disks.published import RbdBacking
from stillframe.disks.rbd.cluster import Clusters
from stillframe.errors.capture import HypervisorUnavailable
from stillframe.hypervisor.connection import Connection
from stillframe.images.desk import ImagesApi
from stillframe.images.directory import DirectoryStore
from stillframe.images.glance import Access
from stillframe.images.glancestore import GlanceStore
from stillframe.images.locations import Backing
from stillframe.messaging.contract import ControllerApi
from stillframe.services import process

LOG = logging.getLogger(__name__)
TIDY = 5.0  # seconds between two tries to finish deletions of images whose bytes are elsewhere


def tools(settings: Settings, stack: ExitStack, desk: ImagesApi) -> Tools:
    """What captures work with here; a libvirt that is away is tried again until it answers.

    `desk` is asked where images go to Glance.
    """
    _make_directories(settings)
    connection = Connection(settings.agent.libvirt_uri)
    stack.callback(connection.close)
    try:
        connection.open()
    except HypervisorUnavailable as error:
        LOG.warning("%s It is tried again until it answers.", error)
    ceph = Ceph(Clusters(timeout=settings.ceph.timeout), connection, settings.ceph, settings.ceph_clusters)
    stack.callback(ceph.close)
    flattening = Flattening(ceph, settings.capture.transfer_stall)
    stack.callback(flattening.close)
    options = settings.agent
    guard = GuardLink(settings.service.state_dir, options.libvirt_uri, options.guard_grace, options.guard_silence)
    guard.start()
    stack.callback(guard.close)
    images: Store = (
        _glance(settings, desk) if settings.images.store == IN_GLANCE else _store(settings, RbdBacking(ceph))
    )
    return Tools(connection, guard, images, settings.capture, Stillness(), ceph, flattening, _run_dir(settings))


def _store(settings: Settings, backing: Backing) -> DirectoryStore:
    """The image directory, made and tidied."""
    images = DirectoryStore(settings.images.directory, backing, rbd_locations=settings.images.rbd_locations)
    images.prepare()
    images.tidy()
    for half in images.halves():
        LOG.warning("in the image directory, %s is no published image: %s", half.name, half.reason)
    return images


def journal(settings: Settings, stack: ExitStack) -> Journal:
    """The agent's journal; others may read it meanwhile."""
    opened = Journal(settings.service.state_dir / "journal.sqlite")
    stack.callback(opened.close)
    return opened


def _glance(settings: Settings, desk: ImagesApi) -> GlanceStore:
    """Glance, for uploads as [service_user]."""
    return GlanceStore(Access(settings).as_service(), desk, settings.glance, settings.capture.step_deadline)


def agent(
    settings: Settings, stack: ExitStack, tools: Tools, controller: ControllerApi, bell: threading.Event
) -> AgentService:
    """An agent with its journal, not started yet."""
    return AgentService(
        settings.service.host,
        tools=tools,
        journal=journal(settings, stack),
        controller=controller,
        options=settings.agent,
        woken=bell,
        agent_id=identity(settings.service.state_dir),
    )


def begin(settings: Settings, stack: ExitStack, agent: AgentService, images: Store) -> None:
    """Starts the agent; the stack stops it within the stop deadline."""
    if isinstance(images, DirectoryStore):
        process.every(stack, TIDY, "images", images.tidy)
    agent.start()
    stack.callback(lambda: agent.stop(time.monotonic() + settings.service.stop_deadline))


def _make_directories(settings: Settings) -> None:
    """QEMU's user must reach scratch and sockets by their full names, and list nothing."""
    settings.capture.scratch_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    _run_dir(settings).mkdir(mode=0o711, exist_ok=True)


def _run_dir(settings: Settings) -> Path:
    return settings.service.state_dir / "run"
