"""A Glance of one's own: two stores of files, and where there is a Ceph cluster one on RBD for each of two pools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab.ceph import CephCluster
from lab.mariadb import MariaDb
from lab.openstack.keystone import REGION, Keystone, User
from lab.openstack.web import WebService

PLAIN, OTHER = "plain", "other"  # its stores; the first is the default
ON_CEPH, BESIDE_DISKS = "ceph", "disks"
POOLS = {ON_CEPH: "images", BESIDE_DISKS: "vms"}  # of its stores on RBD
CEPH_USER = "glance"
CAPS = ", ".join(f"profile rbd pool={pool}" for pool in POOLS.values())
PIPELINE = """\
[composite:glance-api]
paste.composite_factory = glance.api:root_app_factory
/: api

[pipeline:api]
pipeline = versionnegotiation authtoken context rootapp

[composite:rootapp]
paste.composite_factory = glance.api:root_app_factory
/: apiversions
/v2: apiv2app

[app:apiversions]
paste.app_factory = glance.api.versions:create_resource

[app:apiv2app]
paste.app_factory = glance.api.v2.router:API.factory

[filter:versionnegotiation]
paste.filter_factory = glance.api.middleware.version_negotiation:VersionNegotiationFilter.factory

[filter:context]
paste.filter_factory = glance.api.middleware.context:ContextMiddleware.factory

[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
delay_auth_decision = true
"""


class Glance(WebService):
    """In Keystone's catalogue as `image`."""

    name = "glance"

    def __init__(self, directory: Path, db: MariaDb, keystone: Keystone, ceph: CephCluster | None = None) -> None:
        super().__init__(directory, db)
        self.data = {name: directory / name for name in (PLAIN, OTHER, "staging", "tasks", "locks")}
        for path in self.data.values():
            self.own(path)
        self._keystone = keystone
        self._ceph = ceph
        (directory / "paste.ini").write_text(PIPELINE)
        self.policy: dict[str, str] = {}
        self.configure()

    def configure(self, policy: dict[str, str] | None = None, **options: object) -> None:
        """Writes its configuration for the next start: rules of its policy, options of [DEFAULT]."""
        rules = "".join(f'"{name}": "{rule}"\n' for name, rule in (policy or {}).items())
        (self.directory / "policy.yaml").write_text(rules or "{}\n")
        kinds = {PLAIN: "file", OTHER: "file"} | (dict.fromkeys(POOLS, "rbd") if self._ceph else {})
        self.write(
            "glance-api.conf",
            {
                "DEFAULT": {
                    "use_stderr": True,
                    "enabled_backends": ",".join(f"{name}:{kind}" for name, kind in kinds.items()),
                    "enabled_import_methods": "[]",
                    "worker_self_reference_url": self.url,
                    **options,
                },
                "database": {"connection": self.database},
                "glance_store": {"default_backend": PLAIN},
                "oslo_policy": {"policy_file": self.directory / "policy.yaml"},
                "oslo_concurrency": {"lock_path": self.data["locks"]},
                "paste_deploy": {"flavor": "", "config_file": self.directory / "paste.ini"},
                "keystone_authtoken": token_options(self._keystone, User("glance", "service", "admin")),
                **self._stores(),
            },
        )

    def bootstrap(self) -> None:
        """Makes its tables and its entry in the catalogue; once, before it is started."""
        self.manage("glance-api.conf", "db_sync")
        self._keystone.endpoint("image", "glance", self.url)

    def _stores(self) -> dict[str, dict[str, object]]:
        parts = {name: {"filesystem_store_datadir": path} for name, path in self.data.items()}
        stores: dict[str, dict[str, object]] = {
            PLAIN: dict(parts[PLAIN]),
            OTHER: dict(parts[OTHER]),
            "os_glance_staging_store": dict(parts["staging"]),
            "os_glance_tasks_store": dict(parts["tasks"]),
        }
        if self._ceph is not None:
            reached = {"rbd_store_ceph_conf": self._reach(self._ceph), "rbd_store_user": CEPH_USER}
            stores |= {name: {**reached, "rbd_store_pool": pool} for name, pool in POOLS.items()}
        return stores

    def _reach(self, ceph: CephCluster) -> Path:
        """A ceph.conf and a keyring that its own user can read."""
        conf, keyring = self.directory / "ceph.conf", self.directory / "ceph.keyring"
        conf.write_text(f"[global]\nmon host = {','.join(ceph.monitors)}\nkeyring = {keyring}\n")
        keyring.write_text(f"[client.{CEPH_USER}]\nkey = {ceph.key(CEPH_USER)}\n")
        return conf


def token_options(keystone: Keystone, user: User) -> dict[str, Any]:
    """[keystone_authtoken] of a service that asks Keystone as this user."""
    return {"auth_type": "password", **keystone.auth(user), "region_name": REGION, "www_authenticate_uri": keystone.url}
