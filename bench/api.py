"""The API through its Unix socket, over SQLite on a real filesystem, with 1000 servers on record.

    python -m bench api

`other` is the floor that the same machine has in the same run: for the list, turning the same answer into JSON and
nothing else; for createImage, one committed SQLite transaction of one row.
"""

from __future__ import annotations

import http.client
import json
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from bench.experiment import Experiment, Options
from bench.results import Result
from stillframe import config
from stillframe.api.app import application
from stillframe.api.deps import Deps
from stillframe.api.server import serve
from stillframe.controller.captures import Captures
from stillframe.controller.database import Database
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.controller.hosts import Hosts
from stillframe.controller.servers import Servers
from stillframe.images.directory import DirectoryStore
from stillframe.messaging.contract import HostReport
from stillframe.messaging.inprocess import InProcess
from stillframe.model import Disk, Instance, Layer, PowerState, VmState

SERVERS = 1000
RUNS = 15
CASES = ("api-servers-detail-1000-ms", "api-create-image-p50-ms", "api-create-image-p99-ms")
VERSION = {"OpenStack-API-Version": "compute 2.100", "Content-Type": "application/json"}


class Client(http.client.HTTPConnection):
    """One kept connection over the Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        """To the socket instead of the host."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self._path))

    def ask(self, method: str, url: str, body: Any = None) -> Any:
        """The answer's JSON; anything but 2xx ends the benchmark."""
        self.request(method, url, None if body is None else json.dumps(body), VERSION)
        answer = self.getresponse()
        data = answer.read()
        if not 200 <= answer.status < 300:
            sys.exit(f"{method} {url}: {answer.status} {data[:500]!r}")
        return json.loads(data)


def instance(number: int) -> Instance:
    """A server as a host reports it: two disks, the root one an overlay."""
    base, top = Layer("/var/lib/images/base.raw", "raw"), Layer(f"/var/lib/images/{number}.qcow2", "qcow2")
    data = Layer(f"/dev/vg/data-{number}", "raw")
    return Instance(
        id=f"{number:08x}-0000-4000-8000-000000000000",
        name=f"server-{number}",
        domain=f"instance-{number:08x}",
        vm_state=VmState.ACTIVE,
        power_state=PowerState.RUNNING,
        disks=(Disk("vda", (top, base), size=20 << 30), Disk("vdb", (data,), size=100 << 30)),
        root="vda",
        run=f"boot:{number}",
        vcpus=4,
        memory_mib=8192,
        project_id="default",
        user_id="alice",
    )


@contextmanager
def serving(directory: Path, connection: str | None = None) -> Iterator[tuple[Client, Database]]:
    """A service with SERVERS servers, a client of it, and its database: the one of this URL, or a SQLite file."""
    file = directory / "stillframe.conf"
    database = "" if connection is None else f"[database]\nconnection = {connection}\n"
    file.write_text(f"[DEFAULT]\nstate_dir = {directory}\n{database}")
    settings = config.load(files=[file])
    db = Database(settings.database.connection)
    db.upgrade()
    store = DirectoryStore(settings.images.directory)
    store.prepare()
    report = HostReport("host", "run", (), "digest", tuple(map(instance, range(SERVERS))), 1)
    ControllerEndpoint(db, settings.controller).heartbeat(report)
    deps = Deps(settings, Servers(db), Captures(db, InProcess()), Hosts(db), store, tuple, int)
    with serve(application(deps), settings.api) as served:
        yield Client(served.socket), db
    db.close()


def milliseconds(work: Callable[[], object]) -> float:
    """How long it took."""
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def detail(client: Client, runs: int) -> Result:
    """All servers with details in one answer, parsed."""
    body = client.ask("GET", "/v2.1/servers/detail")
    if len(body["servers"]) != SERVERS:
        sys.exit(f"{len(body['servers'])} servers instead of {SERVERS}")
    ours, floor = [], []
    for _ in range(runs):
        ours.append(milliseconds(lambda: client.ask("GET", "/v2.1/servers/detail")))
        floor.append(milliseconds(lambda: json.loads(json.dumps(body))))
    return Result.of(CASES[0], ours, floor, "ms", "the same JSON written and read")


def create_image(client: Client, directory: Path) -> list[Result]:
    """createImage once for every server, one after the other."""
    floor_db = sqlite3.connect(directory / "floor.sqlite", isolation_level=None)
    floor_db.execute("PRAGMA journal_mode=WAL")
    floor_db.execute("CREATE TABLE t (id TEXT PRIMARY KEY, body TEXT)")
    ours, floor = [], []
    for number in range(SERVERS):
        url = f"/v2.1/servers/{instance(number).id}/action"
        body = {"createImage": {"name": f"image-{number}", "metadata": {"purpose": "benchmark"}}}
        ours.append(milliseconds(lambda url=url, body=body: client.ask("POST", url, body)))  # type: ignore[misc]
        row = (url, json.dumps(body))
        floor.append(milliseconds(lambda row=row: floor_db.execute("INSERT INTO t VALUES (?, ?)", row)))  # type: ignore[misc]
    floor_db.close()
    return [
        _compared(CASES[1], median(ours), median(floor)),
        _compared(CASES[2], _p99(ours), _p99(floor)),
    ]


def _compared(case: str, ours: float, floor: float) -> Result:
    return Result(case, ours, floor, ours / floor, "ms", SERVERS, "one SQLite transaction")


def _p99(values: list[float]) -> float:
    return quantiles(values, n=100)[98]


def run(options: Options) -> list[Result]:
    """The cases, with a service of their own."""
    with tempfile.TemporaryDirectory(prefix="sfb-", dir=options.directory) as made, serving(Path(made)) as (client, _):
        return [detail(client, options.runs(RUNS)), *create_image(client, Path(made))]


EXPERIMENT = Experiment("api", CASES, run)
