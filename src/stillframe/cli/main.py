"""The `stillframe` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, version
from typing import Any

from cliff.app import App
from cliff.commandmanager import CommandManager

from stillframe.cli.exits import EPILOG, Exit

COMMANDS: Mapping[str, str] = {
    "up": "service:Up",
    "agent doctor": "agent:AgentDoctor",
    "config sample": "service:ConfigSample",
    "password": "service:Password",
    "server list": "server:ServerList",
    "server show": "server:ServerShow",
    "server image create": "create:ServerImageCreate",
    "capture list": "capture:CaptureList",
    "capture show": "capture:CaptureShow",
    "capture watch": "capture:CaptureWatch",
    "capture cancel": "capture:CaptureCancel",
    "image list": "image:ImageList",
    "image show": "image:ImageShow",
    "image save": "image:ImageSave",
    "image delete": "image:ImageDelete",
}

DESCRIPTION = "Saves a virtual machine as an image while it runs."


class Stillframe(App):
    """Finds the command; nothing that it does not need is imported."""

    NAME = "stillframe"

    def __init__(self) -> None:
        super().__init__(DESCRIPTION, version("stillframe"), _commands(), deferred_help=True)

    def build_option_parser(
        self, description: str | None, version: str | None, argparse_kwargs: dict[str, Any] | None = None
    ) -> argparse.ArgumentParser:
        """The options that come before the command."""
        shape = {
            "epilog": EPILOG,
            "formatter_class": argparse.RawDescriptionHelpFormatter,
            "allow_abbrev": False,
            **(argparse_kwargs or {}),
        }
        parser = super().build_option_parser(description, version, shape)
        parser.add_argument("--socket", metavar="PATH", help="The Unix socket. Environment: STILLFRAME_SOCKET.")
        parser.add_argument("--os-cloud", metavar="NAME", help="A cloud of clouds.yaml. Environment: OS_CLOUD.")
        return parser

    def configure_logging(self) -> None:
        """Only where it was asked for: `up` sets up the service's own, and errors reach stderr without."""
        if self.options.debug or self.options.verbose_level > 1 or self.options.log_file:
            super().configure_logging()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return int(Stillframe().run(arguments or ["--help"]))
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def _commands() -> CommandManager:
    manager = CommandManager()
    for name, target in COMMANDS.items():
        manager.commands[name] = EntryPoint(name, f"stillframe.cli.{target}", "stillframe.cli")
    return manager


if __name__ == "__main__":
    sys.exit(main())
