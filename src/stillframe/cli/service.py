"""stillframe up, config sample, password: what runs on the service's own machine."""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path
from typing import TextIO

from cliff.command import Command

from stillframe.cli.base import Guarded
from stillframe.errors.request import BadRequest

WIDTH = 100


class Up(Guarded, Command):
    """Run the service on this machine until SIGTERM or Ctrl-C."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The configuration."""
        parser = super().get_parser(prog_name)
        add_config_files(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """The service's own exit code."""
        from stillframe import config  # noqa: PLC0415  (the whole service)
        from stillframe.onehost import run  # noqa: PLC0415
        from stillframe.services.process import log_to_stderr  # noqa: PLC0415

        settings = config.load(files=parsed_args.files)
        log_to_stderr(settings.service.log_level)
        return run(settings)


def add_config_files(parser: argparse.ArgumentParser) -> None:
    """The option that names the service's configuration."""
    parser.add_argument(
        "--config-file",
        dest="files",
        metavar="PATH",
        type=Path,
        action="append",
        help="May be given several times, later ones win. Default: /etc/stillframe/stillframe.conf if it exists.",
    )


class ConfigSample(Guarded, Command):
    """Print every option with its default, commented, as the beginning of a stillframe.conf."""

    def take_action(self, parsed_args: argparse.Namespace) -> int:  # noqa: ARG002
        """The sample on stdout."""
        from oslo_config import cfg, generator  # noqa: PLC0415  (slow to import)

        conf = cfg.ConfigOpts()
        generator.register_cli_opts(conf)
        conf(["--namespace", "stillframe", "--namespace", "oslo.policy", "--wrap-width", str(WIDTH)], project="none")
        generator.generate(conf, self.app.stdout)
        return 0


class Password(Guarded, Command):
    """Print a line for the password file; the password is asked for, or read from stdin."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Who the line is for."""
        parser = super().get_parser(prog_name)
        parser.add_argument("user", metavar="USER", type=_word, help="The user's name.")
        parser.add_argument("--project", metavar="ID", type=_word, help="Default: [api] project.")
        parser.add_argument(
            "--role",
            dest="roles",
            metavar="ROLE",
            type=_word,
            action="append",
            help="admin, manager, member or reader; may be given several times. Default: member.",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """The line on stdout."""
        from stillframe.api.passwords import hashed  # noqa: PLC0415  (imports the API)

        try:
            fields = [parsed_args.user, hashed(read_password(sys.stdin))]
        except ValueError as error:
            raise BadRequest(reason=str(error)) from error
        if parsed_args.project or parsed_args.roles:
            fields.append(parsed_args.project or "")
        if parsed_args.roles:
            fields.append(",".join(parsed_args.roles))
        print(":".join(fields), file=self.app.stdout)
        return 0


def read_password(stdin: TextIO) -> str:
    """Asked for twice on a terminal, else the first line; raises ValueError when the two differ."""
    if not stdin.isatty():
        return stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise ValueError("The two passwords differ.")
    return password


def _word(text: str) -> str:
    """A name that fits between the file's colons."""
    if not text or text.startswith("#") or any(char in ":," or char.isspace() for char in text):
        raise argparse.ArgumentTypeError(f"'{text}' is empty, begins with # or has a blank, a colon or a comma in it")
    return text
