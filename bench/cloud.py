"""A cloud without hypervisors: 500 captures over 20 simulated agents, 2 controllers, PostgreSQL and RabbitMQ.

    python -m bench cloud

`other` is what createImage of Nova 34 took on such a machine (1.2 s in the middle, 2.3 s at worst), and for the
throughput what one controller in one process gives over SQLite, without a broker between. A capture that was lost,
doubled or failed ends the benchmark.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median, quantiles

from bench import footprint
from bench.api import Client, milliseconds
from bench.experiment import MIB, Experiment, Options
from bench.results import Result
from lab.cloud import Cloud
from lab.hosts import SimulatedHost, instance
from lab.postgres import Postgres
from lab.tools import environment
from lab.wait import until
from stillframe import config
from stillframe.controller.captures import CaptureRequest, Captures
from stillframe.controller.database import Database
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.controller.servers import Servers
from stillframe.messaging.inprocess import InProcess
from stillframe.model import CaptureStatus, ImageRequest

AGENTS, CAPTURES, PROCESSES, CLIENTS = 20, 500, 2, 8
NOVA_P50_MS, NOVA_P99_MS = 1200.0, 2300.0  # Nova 34 with MariaDB and RabbitMQ on two cores, the best and the worst
CASES = ("cloud-captures-per-s", "cloud-create-image-p50-ms", "cloud-create-image-p99-ms")
DEADLINE = 600.0


@contextmanager
def simulated(cloud: Cloud, agents: int, instances: int) -> Iterator[None]:
    """The agents, in a few processes."""
    each = agents // PROCESSES
    argv = [sys.executable, "-m", "lab.hosts", cloud.broker.url]
    processes = [
        subprocess.Popen([*argv, str(first), str(each), str(instances)], env=environment())
        for first in range(0, each * PROCESSES, each)
    ]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(60)


def accepted(socket: Path, hosts: int, instances: int) -> list[float]:
    """createImage for every instance, from a few clients at once; milliseconds that each took."""
    threads = threading.local()

    def one(server: str) -> float:
        if not hasattr(threads, "client"):
            threads.client = Client(socket)
        body = {"createImage": {"name": "image", "metadata": {"purpose": "benchmark"}}}
        return milliseconds(lambda: threads.client.ask("POST", f"/v2.1/servers/{server}/action", body))

    servers = [instance(f"sim{host}", number).id for number in range(instances) for host in range(hosts)]
    with ThreadPoolExecutor(CLIENTS) as clients:
        return list(clients.map(one, servers))


@dataclass(frozen=True, slots=True)
class Served:
    """What a cloud did, and what it took."""

    rate: float  # captures a second, from the first wish to the last end
    times: list[float]  # milliseconds of each wish
    memory: dict[str, float]  # MiB of each service at its peak
    recorded: float  # bytes in the database for each capture

    def __str__(self) -> str:
        memory = ", ".join(f"{name} {mib:.0f} MiB" for name, mib in self.memory.items())
        return (
            f"{len(self.times)} captures, {self.rate:.1f} a second; {memory}; {self.recorded:.0f} bytes recorded each"
        )


def over_rabbitmq(directory: Path, agents: int, instances: int) -> Served:
    """A wish for each instance, from the first to the last end."""
    directory.mkdir()
    with (
        Postgres(directory / "postgres") as server,
        Cloud(directory, (), controllers=2, database=server.create("stillframe")) as cloud,
        simulated(cloud, agents, instances),
    ):
        wanted = agents * instances
        asking = Client(cloud.api.socket)
        url = f"/v2.1/servers?limit={wanted}"
        until(lambda: len(asking.ask("GET", url)["servers"]) == wanted, DEADLINE, "all instances", pause=0.2)
        before = _size(server)
        began = time.monotonic()
        times = accepted(cloud.api.socket, agents, instances)
        with_db = Captures(Database(cloud.database), InProcess())
        until(partial(_all_completed, with_db, wanted), DEADLINE, "all captures to end", pause=0.1)
        took = time.monotonic() - began
        attempts = {capture.attempt for capture in with_db.list()}
        if attempts != {1}:
            sys.exit(f"captures took {attempts} attempts")
        parts = {"api": cloud.api, "controller": cloud.controllers[0]}
        memory = {name: footprint.peak_memory((part.pid,)) / MIB for name, part in parts.items()}
        return Served(wanted / took, times, memory, (_size(server) - before) / wanted)


def _size(server: Postgres) -> int:
    return int(server.sql("SELECT pg_database_size('stillframe')"))


def in_process(directory: Path, agents: int, instances: int) -> float:
    """Captures a second of the same agents without a broker: calls are calls."""
    directory.mkdir()
    db, bells = Database(f"sqlite:///{directory}/stillframe.sqlite"), InProcess()
    db.upgrade()
    captures, controller = Captures(db, bells), ControllerEndpoint(db, config.load(files=[]).controller)
    hosts = [SimulatedHost(f"sim{n}", instances, controller, bells.bell(f"sim{n}")) for n in range(agents)]
    threads = [threading.Thread(target=host.run) for host in hosts]
    for thread in threads:
        thread.start()
    until(lambda: _known(db) == agents * instances, DEADLINE, "all instances")
    began = time.monotonic()
    for number in range(instances):
        for host in hosts:
            images = (ImageRequest(str(uuid.uuid4()), "image"),)
            of = instance(host.name, number).id
            captures.accept(CaptureRequest(of, None, None, "req", "createImage", "image", images))
    until(partial(_all_completed, captures, agents * instances), DEADLINE, "all captures to end", pause=0.1)
    took = time.monotonic() - began
    for host in hosts:
        host.stop()
    for thread in threads:
        thread.join()
    db.close()
    return agents * instances / took


def _known(db: Database) -> int:
    return len(Servers(db).list(limit=10 * CAPTURES))


def _all_completed(captures: Captures, wanted: int) -> bool:
    counts = captures.counts()
    if counts[CaptureStatus.FAILED]:
        sys.exit(f"captures failed: {counts}")
    return counts[CaptureStatus.COMPLETED] == wanted


def run(options: Options) -> list[Result]:
    """The cases, in a cloud of their own."""
    agents = 4 if options.quick else AGENTS
    instances = 3 if options.quick else CAPTURES // AGENTS
    with tempfile.TemporaryDirectory(prefix="sfb-", dir="/tmp") as made:
        Path(made).chmod(0o755)  # PostgreSQL runs as nobody
        served = over_rabbitmq(Path(made) / "cloud", agents, instances)
        options.say(f"{served}; now without a broker")
        floor = in_process(Path(made) / "floor", agents, instances)
    rate, times, count = served.rate, served.times, len(served.times)
    p50, p99 = median(times), quantiles(times, n=100)[98]
    against = "Nova 34 on such a machine"
    return [
        Result(CASES[0], rate, floor, rate / floor, "/s", count, "the same agents without a broker"),
        Result(CASES[1], p50, NOVA_P50_MS, p50 / NOVA_P50_MS, "ms", count, against),
        Result(CASES[2], p99, NOVA_P99_MS, p99 / NOVA_P99_MS, "ms", count, against),
    ]


EXPERIMENT = Experiment("cloud", CASES, run)
