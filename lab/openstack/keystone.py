"""A Keystone of one's own, with the projects and users of the tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openstack

from lab.mariadb import MariaDb
from lab.openstack.web import WebService

REGION = "lab"
KEYS = ("fernet_tokens", "fernet_receipts", "credential")  # what needs a directory of keys
INTERFACES = ("public", "internal", "admin")
ADMINISTRATOR = "admin"  # of the user and of its project, as keystone-manage makes them
PASSWORD = "only-of-the-lab"  # noqa: S105 - of every user


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with a role in a project."""

    name: str
    project: str
    role: str


ADMIN = User(ADMINISTRATOR, ADMINISTRATOR, "admin")
USERS = (
    User("alice", "red", "member"),
    User("rita", "red", "reader"),
    User("bob", "blue", "member"),
    User("glance", "service", "admin"),
)


class Keystone(WebService):
    """Ready with USERS, and with itself in its catalogue."""

    name = "keystone"

    def __init__(self, directory: Path, db: MariaDb, *, expiration: int = 3600) -> None:
        """`expiration`: seconds that a token is good for."""
        super().__init__(directory, db)
        keys = {part: directory / part for part in KEYS}
        for key in keys.values():
            self.own(key)
        self._connections: dict[User, Any] = {}
        self.write(
            "keystone.conf",
            {
                "DEFAULT": {"use_stderr": True, "log_file": ""},
                "database": {"connection": self.database},
                "cache": {"enabled": False},
                "token": {"expiration": expiration},
                **{part: {"key_repository": key} for part, key in keys.items()},
                "identity": {"password_hash_rounds": 4},
            },
        )

    def bootstrap(self) -> None:
        """Makes its tables, its keys and its administrator; once, before it is started."""
        owner = ("--keystone-user", "nobody", "--keystone-group", "nogroup")
        self.manage("keystone.conf", "db_sync")
        self.manage("keystone.conf", "fernet_setup", *owner)
        self.manage("keystone.conf", "credential_setup", *owner)
        self.manage(
            "keystone.conf", "bootstrap", "--bootstrap-password", PASSWORD, "--bootstrap-region-id", REGION,
            *(f"--bootstrap-{kind}-url={self.url}/v3" for kind in INTERFACES),
        )  # fmt: skip

    def populate(self) -> None:
        """Makes USERS and their projects; once, while it runs."""
        for user in USERS:
            self.add(user)

    def add(self, user: User) -> None:
        """Makes a user, and what of project and role is not there yet."""
        cloud = self.connect()
        project = cloud.identity.find_project(user.project) or cloud.identity.create_project(
            name=user.project, domain_id="default"
        )
        made = cloud.identity.find_user(user.name) or cloud.identity.create_user(
            name=user.name, password=PASSWORD, domain_id="default", default_project_id=project.id
        )
        role = cloud.identity.find_role(user.role) or cloud.identity.create_role(name=user.role)
        cloud.identity.assign_project_role_to_user(project, made, role)

    def endpoint(self, kind: str, name: str, url: str) -> None:
        """Enters a service into the catalogue, for everybody and every interface."""
        cloud = self.connect()
        service = cloud.identity.create_service(type=kind, name=name)
        for interface in INTERFACES:
            cloud.identity.create_endpoint(service_id=service.id, interface=interface, url=url, region_id=REGION)
        self._connections.clear()  # their catalogues are old now

    def project_id(self, name: str) -> str:
        """The id of a project."""
        return str(self.connect().identity.find_project(name, ignore_missing=False).id)

    def auth(self, user: User = ADMIN) -> dict[str, str]:
        """How a user signs in, as clouds.yaml and configuration files say it."""
        return {
            "auth_url": f"{self.url}/v3",
            "username": user.name,
            "password": PASSWORD,
            "project_name": user.project,
            "user_domain_id": "default",
            "project_domain_id": "default",
        }

    def connect(self, user: User = ADMIN) -> Any:
        """An openstacksdk connection of a user's, made once."""
        if user not in self._connections:
            made = openstack.connection.Connection(auth=self.auth(user), region_name=REGION)
            self._connections[user] = made
        return self._connections[user]
