"""Limits: there is none on servers; what is used is counted."""

from __future__ import annotations

from typing import Any

from stillframe.api.call import Answer, Call
from stillframe.api.deps import Deps
from stillframe.api.handlers.flavors import instances
from stillframe.api.policy import Policy

UNLIMITED = -1


class Limits:
    """GET /limits"""

    def __init__(self, deps: Deps, policy: Policy) -> None:
        self._servers = deps.servers
        self._policy = policy
        self._metadata_items = deps.settings.api.metadata_items

    def show(self, call: Call) -> Answer:
        """Of the caller's project, or of `tenant_id` for administrators."""
        self._policy.require(call.caller, "os_compute_api:limits")
        project = call.one("tenant_id")
        if project is None:
            project = call.caller.project_id
        elif project != call.caller.project_id:
            self._policy.require(call.caller, "os_compute_api:limits:other_project")
        found = list(instances(self._servers, project))
        absolute: dict[str, Any] = {
            "maxTotalInstances": UNLIMITED,
            "maxTotalCores": UNLIMITED,
            "maxTotalRAMSize": UNLIMITED,
            "maxTotalKeypairs": UNLIMITED,
            "maxServerMeta": self._metadata_items,
            "maxServerGroups": UNLIMITED,
            "maxServerGroupMembers": UNLIMITED,
            "totalInstancesUsed": len(found),
            "totalCoresUsed": sum(instance.vcpus for instance in found),
            "totalRAMUsed": sum(instance.memory_mib for instance in found),
            "totalServerGroupsUsed": 0,
        }
        return Answer({"limits": {"rate": [], "absolute": absolute | self._older(call)}})

    def _older(self, call: Call) -> dict[str, int]:
        """What later microversions left out."""
        older: dict[str, int] = {}
        if call.version < (2, 39):
            older["maxImageMeta"] = self._metadata_items
        if call.version < (2, 57):
            older |= {"maxPersonality": 0, "maxPersonalitySize": 0}
        if call.version < (2, 36):
            names = ("FloatingIps", "SecurityGroups")
            older |= {f"maxTotal{names[0]}": UNLIMITED, f"max{names[1]}": UNLIMITED, "maxSecurityGroupRules": UNLIMITED}
            older |= {f"total{name}Used": 0 for name in names}
        return older
