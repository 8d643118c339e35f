"""stillframe server list | show"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from cliff.columns import FormattableColumn
from cliff.lister import Lister
from cliff.show import ShowOne

from stillframe.cli.base import Guarded
from stillframe.cli.text import Plain, human_bytes

POWER = {0: "nostate", 1: "running", 3: "paused", 4: "shutdown", 6: "crashed", 7: "suspended"}


class ServerList(Guarded, Lister):
    """List the servers: the virtual machines that can be captured."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Filters."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--name", help="Only servers whose name contains this; ^ and $ are its ends.")
        parser.add_argument("--status", help="Only servers of this status: ACTIVE, SHUTOFF, PAUSED, SUSPENDED, ERROR.")
        parser.add_argument("--limit", type=int, default=0, help="At most so many; default: all.")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterator[Sequence[Any]]]:
        """Column names and rows."""
        servers = self.client().servers(parsed_args.limit, name=parsed_args.name, status=parsed_args.status)
        return ("ID", "Name", "Status", "Task State", "Host"), (_row(server) for server in servers)


class ServerShow(Guarded, ShowOne):
    """Show a server."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The server."""
        parser = super().get_parser(prog_name)
        parser.add_argument("server", metavar="SERVER", help="Name or id.")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        """Fields and values."""
        server = self.client().server(parsed_args.server)
        fields = {
            "id": server["id"],
            "name": server["name"],
            "status": server["status"],
            "vm_state": Plain(server.get("OS-EXT-STS:vm_state")),
            "task_state": Plain(server.get("OS-EXT-STS:task_state")),
            "power_state": Plain(POWER.get(server.get("OS-EXT-STS:power_state", 0))),
            "host": Plain(server.get("OS-EXT-SRV-ATTR:host")),
            "domain": Plain(server.get("OS-EXT-SRV-ATTR:instance_name")),
            "root_disk": Plain((server.get("OS-EXT-SRV-ATTR:root_device_name") or "").removeprefix("/dev/") or None),
            "disks": Disks(server.get("stillframe:disks") or []),
            "project_id": Plain(server.get("tenant_id") or None),
            "user_id": Plain(server.get("user_id") or None),
            "image": Plain((server.get("image") or {}).get("id")),
            "flavor": Plain((server.get("flavor") or {}).get("original_name")),
            "created_at": Plain(server.get("created")),
            "updated_at": Plain(server.get("updated")),
        }
        return self.dict2columns(fields)


class Disks(FormattableColumn[list[dict[str, Any]]]):
    """A line a disk; its target, which `--disk` takes, first."""

    def human_readable(self) -> str:
        return "\n".join(map(_disk, self._value))


def _disk(disk: dict[str, Any]) -> str:
    size = human_bytes(disk["size"]) if disk["size"] else None
    marks = ("root" if disk["root"] else None, "read-only" if disk["read_only"] else None)
    return f"{disk['target']}: {', '.join(filter(None, (disk['format'], disk['kind'], size, *marks)))}"


def _row(server: dict[str, Any]) -> Sequence[Any]:
    return (
        server["id"],
        server["name"],
        server["status"],
        Plain(server.get("OS-EXT-STS:task_state")),
        Plain(server.get("OS-EXT-SRV-ATTR:host")),
    )
