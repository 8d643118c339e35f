"""A Cinder of one's own: its API, scheduler and volume service, with volumes on a Ceph cluster."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab.ceph import CephCluster
from lab.daemon import Daemon
from lab.disks import GuestDisk
from lab.domains import secret_id
from lab.mariadb import MariaDb
from lab.openstack.glance import Glance, token_options
from lab.openstack.keystone import ADMIN, Keystone, User
from lab.openstack.stage import CONTROLLER
from lab.openstack.web import WebService
from lab.rabbitmq import RabbitMq
from lab.tools import tool
from lab.wait import until

POOL, CEPH_USER = "volumes", "cinder"
CINDER = User("cinder", "service", "admin")
NOVA = User("nova", "service", "service")  # whose token says that it is a service that detaches
DEADLINE = 60.0  # seconds for whatever Cinder does with a volume here
CEPH_CONF = """\
[global]
mon host = {monitors}
keyring = {keyring}
[client]
admin socket =
log file =
"""


class Api(WebService):
    """cinder-api."""

    name = "cinder"

    def command(self) -> Sequence[str | Path]:
        """See Daemon."""
        return ["env", f"HOME={self.directory}", *super().command()]


class Worker(Daemon):
    """cinder-scheduler or cinder-volume, on the configuration of an API."""

    def __init__(self, name: str, api: Api, keystone: Keystone) -> None:
        super().__init__(api.directory / name)
        self.name = name
        self._api = api
        self._keystone = keystone

    def command(self) -> Sequence[str | Path]:
        """See Daemon."""
        home = self._api.directory
        binary = self._api.python.with_name(f"cinder-{self.name}")
        return ["env", f"HOME={home}", binary, "--config-file", home / "cinder.conf"]

    def send(self, number: signal.Signals) -> None:
        """Also to the process that it has forked, which does the work."""
        super().send(number)
        assert self._process is not None
        pid = self._process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            os.kill(int(child), number)

    def answers(self) -> bool:
        """Whether the API counts it as up, and so sends it work."""
        services = self._keystone.connect().block_storage.get("/os-services").json()["services"]
        return any(each["binary"] == f"cinder-{self.name}" and each["state"] == "up" for each in services)


class Cinder:
    """In Keystone's catalogue as `volumev3`; each of its three processes can be killed."""

    def __init__(
        self, directory: Path, db: MariaDb, broker: RabbitMq, *, keystone: Keystone, glance: Glance, ceph: CephCluster
    ) -> None:
        self.ceph = ceph
        self._keystone = keystone
        self.api = Api(directory, db)
        self.scheduler, self.volume = (Worker(name, self.api, keystone) for name in ("scheduler", "volume"))
        self._stack = ExitStack()
        self._configure(broker, glance)

    def __enter__(self) -> Self:
        """Makes its tables, its users and its entry in the catalogue, then starts it."""
        for user in (CINDER, NOVA, replace(CONTROLLER, role=NOVA.role)):  # see docs/cloud.md
            self._keystone.add(user)
        self.api.manage("cinder.conf", "db", "sync")
        self._keystone.endpoint("volumev3", "cinder", f"{self.api.url}/v3")
        with ExitStack() as stack:
            for part in (self.api, self.scheduler, self.volume):
                stack.enter_context(part)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _configure(self, broker: RabbitMq, glance: Glance) -> None:
        home, etc = self.api.directory, self.api.python.parents[1] / "etc" / "cinder"
        keyring = home / "ceph.keyring"
        keyring.write_text(self.ceph.keyring(CEPH_USER).read_text())
        conf = home / "ceph.conf"
        conf.write_text(CEPH_CONF.format(monitors=",".join(self.ceph.monitors), keyring=keyring))
        self.api.write(
            "cinder.conf",
            {
                "DEFAULT": {
                    "use_stderr": True,
                    "transport_url": broker.url,
                    "api_paste_config": etc / "api-paste.ini",
                    "resource_query_filters_file": etc / "resource_filters.json",
                    "state_path": home,
                    "host": "lab",
                    "enabled_backends": "ceph",
                    "glance_api_servers": glance.url,
                    "report_interval": 2,
                },
                "database": {"connection": self.api.database},
                "oslo_concurrency": {"lock_path": home},
                "coordination": {"backend_url": f"file://{home}"},
                "keystone_authtoken": {
                    **token_options(self._keystone, CINDER),
                    "service_token_roles": NOVA.role,
                    "service_token_roles_required": True,
                },
                "ceph": {
                    "volume_driver": "cinder.volume.drivers.rbd.RBDDriver",
                    "volume_backend_name": "ceph",
                    "rbd_pool": POOL,
                    "rbd_user": CEPH_USER,
                    "rbd_ceph_conf": conf,
                    "rbd_secret_uuid": secret_id(self.ceph.access(CEPH_USER)),
                    "rados_connect_timeout": 5,
                    "rbd_exclusive_cinder_pool": True,
                },
            },
        )

    # ------------------------------------------------------------------------------------------------ volumes

    def make(self, user: User, name: str, gib: int = 1) -> str:
        """A volume of the user's, ready; its id."""
        volume = self._keystone.connect(user).block_storage.create_volume(name=name, size=gib)
        self.expect(user, volume.id, "available")
        return str(volume.id)

    def fill(self, volume: str, disk: GuestDisk) -> None:
        """The raw disk's bytes at the beginning of a volume; its file is removed."""
        where = f"rbd:{POOL}/volume-{volume}:id={CEPH_USER}:conf={self.api.directory / 'ceph.conf'}"
        tool("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", disk.path, where, timeout=300)
        disk.path.unlink()

    def attach(self, user: User, volume: str, server: str) -> str:
        """As Nova does, up to `in-use`; the attachment's id."""
        storage = self._keystone.connect(user).block_storage
        made = storage.create_attachment(volume, connector=None, instance=server)
        connector = {
            "host": "lab",
            "platform": "x86_64",
            "os_type": "linux",
            "multipath": False,
            "mountpoint": "/dev/vda",
        }
        storage.update_attachment(made.id, connector=connector)
        storage.complete_attachment(made.id)
        self.expect(user, volume, "in-use")
        return str(made.id)

    def detach(self, attachment: str) -> None:
        """As Nova does: the volume is free again."""
        token = self._keystone.connect(NOVA).session.get_token()
        storage = self._keystone.connect(ADMIN).block_storage
        answer = storage.delete(f"/attachments/{attachment}", headers={"X-Service-Token": token}, microversion="3.27")
        assert answer.status_code < 300, answer.text

    def delete(self, user: User, volume: str) -> None:
        """Deletes a volume and waits until it is gone; a volume that Cinder could not delete is an error."""
        storage = self._keystone.connect(user).block_storage
        storage.delete_volume(volume)

        def gone() -> bool:
            answer = storage.get(f"/volumes/{volume}", raise_exc=False)
            assert answer.status_code == 404 or answer.json()["volume"]["status"] == "deleting", answer.text
            return bool(answer.status_code == 404)

        until(gone, DEADLINE, f"volume {volume} to be deleted", pause=0.2)

    def expect(self, user: User, volume: str, status: str) -> None:
        """Waits until the volume has this status; an error is an error."""
        storage = self._keystone.connect(user).block_storage

        def there() -> bool:
            found = str(storage.get_volume(volume).status)
            assert not found.startswith("error"), found
            return found == status

        until(there, DEADLINE, f"volume {volume} to be {status}", pause=0.2)

    def disk(self, volume: str, target: str = "vda") -> GuestDisk:
        """A volume as Nova gives it to a domain."""
        return GuestDisk(
            Path(POOL, f"volume-{volume}"), "raw", kind="network", target=target, serial=volume,
            rbd=self.ceph.access(CEPH_USER),
        )  # fmt: skip

    def snapshots(self, user: User = ADMIN) -> list[Any]:
        """All snapshots of the user's project; of all projects for the administrator."""
        return list(self._keystone.connect(user).block_storage.snapshots(details=True, all_projects=user is ADMIN))

    def quota(self, project: str, **limits: int) -> Mapping[str, int]:
        """Sets a project's limits."""
        storage = self._keystone.connect().block_storage
        answer = storage.put(f"/os-quota-sets/{self._keystone.project_id(project)}", json={"quota_set": limits})
        assert answer.status_code == 200, answer.text
        found: dict[str, int] = answer.json()["quota_set"]
        return found
