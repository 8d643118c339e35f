"""A Nova of one's own: API, conductor, scheduler, and a compute service whose hypervisor is Nova's own fake one."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import openstack

from lab.daemon import Daemon
from lab.mariadb import MariaDb
from lab.openstack.glance import token_options
from lab.openstack.keystone import ADMIN, REGION, Keystone, User
from lab.openstack.local import LocalServer
from lab.openstack.web import Sections, WebService
from lab.rabbitmq import RabbitMq
from lab.tools import ROOT
from lab.wait import until

SERVICE = User("nova", "service", "admin")
SERVICES = ("conductor", "scheduler", "compute")
READY_DEADLINE = 120.0  # seconds until its compute service is up
ENVIRONMENT = ROOT / ".venv-nova"


class Placement(WebService):
    """In Keystone's catalogue as `placement`."""

    name = "placement"

    def __init__(self, directory: Path, db: MariaDb, keystone: Keystone) -> None:
        super().__init__(directory, db)
        keystone.endpoint("placement", "placement", self.url)
        self.write(
            "placement.conf",
            {
                "DEFAULT": {"use_stderr": True},
                "placement_database": {"connection": self.database},
                "keystone_authtoken": token_options(keystone, SERVICE),
            },
        )
        self.manage("placement.conf", "db", "sync")


class NoNetworks(LocalServer):
    """Neutron as far as Nova asks it of servers without networks: every list is empty."""

    def __init__(self) -> None:
        super().__init__(_Empty)


class _Empty(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        kind = self.path.partition("?")[0].rstrip("/").rpartition("/")[2].removesuffix(".json").replace("-", "_")
        body = json.dumps({kind: []}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class NovaService(Daemon):
    """One of SERVICES."""

    def __init__(self, directory: Path, kind: str, configuration: Path) -> None:
        super().__init__(directory)
        self._words = (ENVIRONMENT / "bin" / f"nova-{kind}", "--config-file", configuration)

    def command(self) -> Sequence[str | Path]:
        """See Daemon."""
        return ("env", "OS_NOVA_DISABLE_EVENTLET_PATCHING=true", *self._words)

    def answers(self) -> bool:
        """Nobody can ask it: Nova's API tells when it is up."""
        return True


class Nova(WebService):
    """Its API, `kind` in Keystone's catalogue, and its other services, which start and end with it."""

    name = "nova"

    def __init__(self, directory: Path, db: MariaDb, keystone: Keystone, broker: RabbitMq, kind: str) -> None:
        super().__init__(directory, db)
        self._keystone = keystone
        self._api_database, self._cell0 = db.create("nova_api"), db.create("nova_cell0")
        self._broker = broker
        self._networks = NoNetworks()
        self._stack = ExitStack()
        shutil.copy(ENVIRONMENT / "etc" / "nova" / "api-paste.ini", directory)
        keystone.add(SERVICE)
        keystone.endpoint(kind, "nova", f"{self.url}/v2.1")
        self.write("nova.conf", self._options())
        hostside = {name: part for name, part in self._options().items() if "database" not in name}
        self.write("nova-compute.conf", hostside)
        files = {kind: "nova-compute.conf" if kind == "compute" else "nova.conf" for kind in SERVICES}
        self._services = {kind: NovaService(directory / kind, kind, directory / file) for kind, file in files.items()}

    def bootstrap(self) -> None:
        """Makes its tables and its cell; once, before it is started."""
        self.manage("nova.conf", "api_db", "sync")
        self.manage("nova.conf", "cell_v2", "map_cell0", "--database_connection", self._cell0)
        self.manage("nova.conf", "db", "sync")
        self.manage("nova.conf", "cell_v2", "create_cell", "--name", "cell1")

    def start(self) -> None:
        """See Daemon; its compute service is up then."""
        with ExitStack() as stack:
            stack.enter_context(self._networks)
            for service in self._services.values():
                stack.enter_context(service)
            self.start_api()
            until(self._compute_is_up, READY_DEADLINE, f"Nova's services; their logs: {self.directory}", pause=1)
            self.manage("nova.conf", "cell_v2", "discover_hosts")
            self._stack = stack.pop_all()

    def stop(self) -> None:
        """See Daemon."""
        super().stop()
        self._stack.close()

    def start_api(self) -> None:
        """The API alone, after kill()."""
        super().start()

    @contextmanager
    def standing_still(self, kind: str) -> Iterator[None]:
        """SIGSTOP for one of SERVICES: what it is asked for waits."""
        self._services[kind].send(signal.SIGSTOP)
        try:
            yield
        finally:
            self._services[kind].send(signal.SIGCONT)

    def command(self) -> Sequence[str | Path]:
        """See Daemon."""
        *words, _, port = super().command()
        return (*words, "nova.wsgi.osapi_compute", port)

    def compute(self, user: User = ADMIN) -> Any:
        """openstacksdk's compute proxy of a user's, for Nova itself: not by the catalogue."""
        made = openstack.connection.Connection(
            auth=self._keystone.auth(user), region_name=REGION, compute_endpoint_override=f"{self.url}/v2.1",
            compute_default_microversion="2.100",
        )  # fmt: skip
        return made.compute

    def _compute_is_up(self) -> bool:
        found = self.compute().services()
        return any(service.binary == "nova-compute" and service.state == "up" for service in found)

    def _options(self) -> Sections:
        user = {"auth_type": "password", **self._keystone.auth(SERVICE), "region_name": REGION}
        return {
            "DEFAULT": {
                "use_stderr": True, "host": "fake0", "my_ip": "127.0.0.1", "compute_driver": "fake.SmallFakeDriver",
                "transport_url": self._broker.url, "state_path": self.directory, "report_interval": 2,
            },
            "api_database": {"connection": self._api_database},
            "database": {"connection": self.database},
            "keystone_authtoken": token_options(self._keystone, SERVICE),
            "placement": user,
            "glance": {"region_name": REGION},
            "neutron": {**user, "endpoint_override": self._networks.url},
            "oslo_concurrency": {"lock_path": self.directory},
        }  # fmt: skip
