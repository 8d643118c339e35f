"""Who may do what: oslo.policy with Nova's and Glance's names and defaults; policy.yaml overrides them."""

from __future__ import annotations

from oslo_config import cfg
from oslo_policy import policy

from stillframe.api.call import Caller
from stillframe.errors.request import Forbidden

ADMIN = "rule:context_is_admin"
MEMBER = "rule:project_member_or_admin"
READER = "rule:project_reader_or_admin"

BASE = {
    "context_is_admin": "role:admin",
    "project_member_api": "role:member and project_id:%(project_id)s",
    "project_reader_api": "role:reader and project_id:%(project_id)s",
    "project_member_or_admin": "rule:project_member_api or rule:context_is_admin",
    "project_reader_or_admin": "rule:project_reader_api or rule:context_is_admin",
}

COMPUTE = {
    "os_compute_api:servers:index": READER,
    "os_compute_api:servers:detail": READER,
    "os_compute_api:servers:index:get_all_tenants": ADMIN,
    "os_compute_api:servers:detail:get_all_tenants": ADMIN,
    "os_compute_api:servers:allow_all_filters": ADMIN,
    "os_compute_api:servers:show": READER,
    "os_compute_api:servers:show:flavor-extra-specs": READER,
    "os_compute_api:servers:show:host_status": ADMIN,
    "os_compute_api:servers:create_image": MEMBER,
    "os_compute_api:servers:create_image:allow_volume_backed": MEMBER,
    "os_compute_api:os-create-backup": MEMBER,
    "os_compute_api:os-extended-server-attributes": ADMIN,
    "os_compute_api:os-flavor-extra-specs:index": READER,
    "os_compute_api:os-instance-actions:list": READER,
    "os_compute_api:os-instance-actions:show": READER,
    "os_compute_api:os-instance-actions:events": ADMIN,
    "os_compute_api:os-instance-actions:events:details": READER,  # Nova: administrators; here the cause is public
    "os_compute_api:limits": "@",
    "os_compute_api:limits:other_project": ADMIN,
}

IMAGE = {
    "get_images": READER,
    "get_image": READER,
    "download_image": MEMBER,
    "delete_image": MEMBER,
}

STILLFRAME = {
    "stillframe:captures:index": READER,
    "stillframe:captures:index:get_all_tenants": ADMIN,
    "stillframe:captures:show": READER,
    "stillframe:captures:create": MEMBER,
    "stillframe:captures:cancel": MEMBER,
    "stillframe:faults:operator": ADMIN,
    "stillframe:metrics:show": "rule:context_is_admin or role:monitoring",
}

NOBODYS = ""  # the project of what has no owner: no caller's project is empty, so that only administrators pass


def list_rules() -> list[policy.RuleDefault]:
    """Entry point of oslo.policy's sample generator."""
    return [
        policy.RuleDefault(name, check) for group in (BASE, COMPUTE, IMAGE, STILLFRAME) for name, check in group.items()
    ]


class Policy:
    """Asks oslo.policy. Decisions are made for a project: the caller's own where none is named."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._enforcer = policy.Enforcer(conf)
        self._enforcer.suppress_default_change_warnings = True
        self._enforcer.register_defaults(list_rules())

    def allows(self, caller: Caller, rule: str, project: str | None = None) -> bool:
        """Whether the caller may do this in the project; NOBODYS stands for what has no owner."""
        target = {"project_id": caller.project_id if project is None else project}
        credentials = {"user_id": caller.user_id, "project_id": caller.project_id, "roles": sorted(caller.roles)}
        return bool(self._enforcer.authorize(rule, target, credentials))

    def require(self, caller: Caller, rule: str, project: str | None = None) -> None:
        """Raises Forbidden unless the caller may."""
        if not self.allows(caller, rule, project):
            raise Forbidden(rule=rule)

    def is_admin(self, caller: Caller) -> bool:
        """Whether the caller sees every project."""
        return self.allows(caller, "context_is_admin")

    def scope(self, caller: Caller) -> str | None:
        """The project that the caller's look-ups by id are confined to; None: all of them."""
        return None if self.is_admin(caller) else caller.project_id
