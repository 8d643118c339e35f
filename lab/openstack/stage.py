"""MariaDB, Keystone and Glance together, and how Stillframe stands beside them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab.ceph import CephCluster
from lab.mariadb import MariaDb
from lab.openstack.glance import CAPS, CEPH_USER, Glance, token_options
from lab.openstack.keystone import Keystone, User
from lab.openstack.web import free_port

# What Glance has to be told of the role of Stillframe's agents. Glance shows private images to its own administrators
# only: so the role is one there, and may do no more than its administrators' rules leave it.
UPLOADER = "image_uploader"
OWNERS = "role:admin or (role:member and project_id:%(project_id)s)"
POLICY = {
    "context_is_admin": f"role:admin or role:{UPLOADER}",
    "upload_image": f"{OWNERS} or role:{UPLOADER}",
    "add_image": "role:admin or (role:member and project_id:%(project_id)s and project_id:%(owner)s)",
    **dict.fromkeys(("delete_image", "modify_image", "communitize_image", "deactivate", "reactivate"), OWNERS),
    **dict.fromkeys(("publicize_image", "manage_image_cache"), "role:admin"),
    **dict.fromkeys(("add_member", "delete_member", "delete_image_location", "set_image_location"), OWNERS),
}
CONTROLLER = User("stillframe", "service", "admin")
LOCATOR = User("stillframe", "service", "service")  # the same one: Glance takes locations from services only
AGENT = User("stillframe-agent", "service", UPLOADER)


class Stage:
    """Everything in `directory`, made once; the services can be killed and stopped."""

    def __init__(self, directory: Path, ceph: CephCluster | None = None) -> None:
        directory.mkdir(mode=0o755, exist_ok=True)
        self._directory = directory
        self._ceph = ceph
        self._stack = ExitStack()
        self.port = free_port()  # of Stillframe's API

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.db = db = stack.enter_context(MariaDb(self._directory / "db"))
            self.keystone = Keystone(self._directory / "keystone", db)
            self.keystone.bootstrap()
            stack.enter_context(self.keystone)
            self.keystone.populate()
            for user in (CONTROLLER, LOCATOR, AGENT):
                self.keystone.add(user)
            if self._ceph is not None:
                self._ceph.make_user(CEPH_USER, CAPS)
            self.glance = Glance(self._directory / "glance", db, self.keystone, self._ceph)
            self.glance.configure(POLICY)
            self.glance.bootstrap()
            self.keystone.endpoint("compute", "stillframe", f"http://127.0.0.1:{self.port}/v2.1")
            stack.enter_context(self.glance)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def options(self, user: User = CONTROLLER, **glance: object) -> dict[str, Mapping[str, Any]]:
        """Stillframe's configuration beside these services; `glance`: further options of its group."""
        return {
            "api": {"listen": f"127.0.0.1:{self.port}", "auth": "keystone"},
            "images": {"store": "glance"},
            "glance": glance,
            "keystone_authtoken": token_options(self.keystone, CONTROLLER),
            "service_user": {"auth_type": "password", **self.keystone.auth(user)},
        }
