"""stillframe capture list | show | watch | cancel"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from cliff.command import Command
from cliff.lister import Lister

from stillframe.cli import show
from stillframe.cli.base import Guarded, each
from stillframe.cli.text import Plain, Time

STATUSES = ("pending", "running", "publishing", "completed", "failed", "cancelled")
PLENTY = 100


class CaptureList(Guarded, Lister):
    """List captures, newest first."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Filters."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--server", metavar="SERVER", help="Only captures of this server, by name or id.")
        parser.add_argument("--status", choices=STATUSES, help="Only captures of this status.")
        parser.add_argument("--limit", type=int, default=PLENTY, help=f"At most so many; 0: all. Default: {PLENTY}.")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterator[Sequence[Any]]]:
        """Column names and rows."""
        client = self.client()
        server_id = client.server(parsed_args.server)["id"] if parsed_args.server else None
        captures = client.captures(parsed_args.limit, server_id=server_id, status=parsed_args.status)
        return ("ID", "Name", "Server", "Status", "Done", "Captured At", "Ended At"), (_row(one) for one in captures)


class CaptureShow(Guarded, show.ShowCapture):
    """Show a capture: the way it went, its instant, its images and its timeline."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The capture."""
        parser = super().get_parser(prog_name)
        parser.add_argument("capture", metavar="CAPTURE", help="Its id, which is that of its image.")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        """Fields and values."""
        return self.dict2columns(show.fields(self.client().capture(parsed_args.capture)))


class CaptureWatch(Guarded, show.ShowCapture):
    """Show a capture's progress until it ends, then its record."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The capture."""
        parser = super().get_parser(prog_name)
        parser.add_argument("capture", metavar="CAPTURE", help="Its id, which is that of its image.")
        show.add_timeout(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        """Fields and values."""
        return self.waited(self.client(), parsed_args.capture, parsed_args.timeout)


class CaptureCancel(Guarded, Command):
    """Cancel captures: the guest is given back and nothing is published."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The captures."""
        parser = super().get_parser(prog_name)
        parser.add_argument("captures", metavar="CAPTURE", nargs="+", help="Their ids.")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """All that can be cancelled are; the first refusal decides the exit code."""
        client = self.client()
        return each(parsed_args.captures, client.cancel)


def _row(capture: dict[str, Any]) -> Sequence[Any]:
    return (
        capture["id"],
        capture["name"],
        capture["server_id"],
        capture["status"],
        Plain(show.percent(capture)),
        Time(capture.get("captured_at")),
        Time(capture.get("ended_at")),
    )
