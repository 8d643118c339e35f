"""stillframe agent doctor: on the hypervisor's own host, beside the service or without it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from cliff.lister import Lister

from stillframe.cli.base import Guarded, tell
from stillframe.cli.exits import exit_of
from stillframe.cli.service import add_config_files
from stillframe.errors.base import StillframeError


class AgentDoctor(Guarded, Lister):
    """Find what no capture owns on this host, such as backup jobs, scratch and guests that stand still."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Whether to mend."""
        parser = super().get_parser(prog_name)
        add_config_files(parser)
        parser.add_argument("--fix", action="store_true", help="Give it all back.")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterator[Sequence[Any]]]:
        """Column names and rows; the exit code is of the last that could not be given back."""
        from stillframe import config  # noqa: PLC0415  (the whole agent)
        from stillframe.agent.doctor import strays  # noqa: PLC0415
        from stillframe.images.desk import NobodyAtDesk  # noqa: PLC0415
        from stillframe.services import hostside  # noqa: PLC0415
        from stillframe.services.process import log_to_stderr  # noqa: PLC0415

        settings = config.load(files=parsed_args.files)
        log_to_stderr("ERROR")
        others = settings.messaging.transport_url is not None  # hosts, which may share the image directory
        rows = []
        with ExitStack() as stack:
            tools = hostside.tools(settings, stack, NobodyAtDesk())
            for stray in strays(tools, hostside.journal(settings, stack)):
                state = "there"
                if stray.beside_images and others:
                    state = "left: another host may be making it"
                elif parsed_args.fix:
                    try:
                        stray.lease.release(tools)
                        state = "given back"
                    except StillframeError as error:
                        tell(error)
                        self.exit_code = exit_of(error)
                rows.append((str(stray.lease), state, stray.why))
        return ("What", "State", "Why"), iter(rows)
