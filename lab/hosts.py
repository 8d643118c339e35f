"""Hosts without a hypervisor: agents that speak the whole protocol over RabbitMQ, and whose captures move no bytes.

python -m lab.hosts URL FIRST COUNT INSTANCES    COUNT of them in a process, called sim0, sim1, ...; until SIGTERM
"""

from __future__ import annotations

import hashlib
import itertools
import signal
import sys
import threading
import uuid
from dataclasses import replace

from stillframe import config, records
from stillframe.errors.base import StillframeError
from stillframe.messaging import bells
from stillframe.messaging.bus import Bus
from stillframe.messaging.contract import CaptureReport, ControllerApi, HostReport, Order, Orders
from stillframe.messaging.remote import RemoteController
from stillframe.model import (
    Consistency,
    Disk,
    ImageResult,
    Instance,
    Instant,
    Layer,
    Phase,
    PowerState,
    VmState,
    Way,
    now,
)

HEARTBEAT = 10.0  # seconds, as in production
BETWEEN = 0.1  # seconds between two phases of a capture
WAY = Way("backup", "directory")


class SimulatedHost:
    """One agent, in a thread; what it holds is forgotten with it."""

    def __init__(self, name: str, instances: int, controller: ControllerApi, bell: threading.Event) -> None:
        self.name = name
        self.run_id = str(uuid.uuid4())
        self._controller = controller
        self._bell = bell
        self._instances = tuple(instance(name, number) for number in range(instances))
        text = "\n".join(records.dumps(each) for each in self._instances)
        self._digest = hashlib.sha256(text.encode()).hexdigest()
        self._hands: dict[str, CaptureReport] = {}
        self._beats = itertools.count(1)
        self._send_inventory = True
        self._stopping = threading.Event()

    def run(self) -> None:
        """Until `stop`."""
        while not self._stopping.is_set():
            self._bell.clear()
            try:
                self._obey(self._controller.heartbeat(self._report()))
            except StillframeError as error:
                sys.stderr.write(f"{self.name}: {error}\n")
            self._bell.wait(BETWEEN if self._hands or self._send_inventory else HEARTBEAT)

    def stop(self) -> None:
        """Ends it, whatever it holds."""
        self._stopping.set()
        self._bell.set()

    def _report(self) -> HostReport:
        return HostReport(
            self.name,
            self.run_id,
            captures=tuple(self._hands.values()),
            inventory_digest=self._digest,
            inventory=self._instances if self._send_inventory else None,
            sequence=next(self._beats),
        )

    def _obey(self, orders: Orders) -> None:
        self._send_inventory = orders.send_inventory
        for capture_id in orders.recorded:
            self._hands.pop(capture_id, None)
        for order in orders.orders:
            self._hands[order.capture_id] = self._next(order, self._hands.get(order.capture_id))

    def _next(self, order: Order, told: CaptureReport | None) -> CaptureReport:
        """One phase further; a failure ends it."""
        told = told or CaptureReport(order.capture_id, "", Phase.WAITING)
        try:
            return self._stepped(order, told)
        except StillframeError as error:
            return replace(told, phase=Phase.ENDED, fault=error.fault)

    def _stepped(self, order: Order, told: CaptureReport) -> CaptureReport:
        match told.phase:
            case Phase.WAITING:
                token = self._controller.begin(order.capture_id, self.name, self.run_id)
                return replace(
                    told, attempt=token, phase=Phase.HELD, way=WAY, instant=Instant(now(), Consistency.CRASH)
                )
            case Phase.HELD:
                return replace(told, phase=Phase.TRANSFERRING)
            case Phase.TRANSFERRING:
                self._controller.commit(order.capture_id, told.attempt)
                images = tuple(ImageResult(image.id, "qcow2", 1, 1) for image in order.images)
                return replace(told, phase=Phase.ENDED, images=images)
            case _:
                return told


def instance(host: str, number: int) -> Instance:
    """The same at every start."""
    name = f"{host}-{number}"
    return Instance(
        id=str(uuid.uuid5(uuid.NAMESPACE_DNS, name)),
        name=name,
        domain=name,
        vm_state=VmState.ACTIVE,
        power_state=PowerState.RUNNING,
        disks=(Disk("vda", (Layer(f"/disks/{name}", "qcow2"),), 10 << 30),),
        root="vda",
        run="boot:1",
        project_id=f"project{number % 5}",
    )


def main(url: str, first: int, count: int, instances: int) -> None:
    """Until SIGTERM."""
    hosts: list[SimulatedHost] = []
    threads: list[threading.Thread] = []
    for number in range(first, first + count):
        bus, bell = Bus(url, config.load(files=[]).oslo), threading.Event()
        bells.listen(bus, f"sim{number}", bell)
        host = SimulatedHost(f"sim{number}", instances, RemoteController(bus, 10), bell)
        hosts.append(host)
        threads.append(threading.Thread(target=host.run, name=host.name))
        threads[-1].start()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    for host in hosts:
        host.stop()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main(sys.argv[1], *map(int, sys.argv[2:]))
