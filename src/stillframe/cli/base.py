"""What all commands share: the connection, and how a failure is told."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from stillframe.cli.exits import EPILOG, Exit, Interrupted, exit_of
from stillframe.errors.base import StillframeError

if TYPE_CHECKING:
    from stillframe.cli.client import Client


class Guarded:
    """Mixed into a cliff command: StillframeErrors become two lines on stderr and an exit code."""

    exit_code = Exit.OK  # of a command that has printed its output
    app: Any

    def run(self, parsed_args: argparse.Namespace) -> int:
        """The command's exit code."""
        try:
            result: int = super().run(parsed_args)  # type: ignore[misc]
            return result or self.exit_code
        except StillframeError as error:
            if self.app.options.debug:
                raise
            tell(error)
            return exit_of(error)
        except Interrupted as error:
            say(f"\n{error}")
            return Exit.INTERRUPTED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """cliff's parser, which leaves the lines of the exit codes as they are."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)  # type: ignore[misc]
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        return parser

    def get_epilog(self) -> str:
        """The exit codes, below every command's help."""
        return EPILOG

    def client(self) -> Client:
        """The service that options and environment name."""
        from stillframe.cli.client import Client  # noqa: PLC0415  (HTTP libraries are slow to import)
        from stillframe.cli.connect import find  # noqa: PLC0415

        options = self.app.options
        return Client(find(options.socket, options.os_cloud, os.environ))


def tell(error: StillframeError) -> None:
    """Cause, the operator's part where it may be seen, and hint, on stderr."""
    fault = error.fault
    print(f"stillframe: {fault.message} [{fault.code}]", file=sys.stderr)
    if fault.operator:
        print(f"Operator: {fault.operator}", file=sys.stderr)
    if fault.hint:
        print(f"Hint: {fault.hint}", file=sys.stderr)


def each(names: Iterable[str], do: Callable[[str], None]) -> Exit:
    """Does it to every name and tells each failure; the exit code of the first."""
    worst = Exit.OK
    for name in names:
        try:
            do(name)
        except StillframeError as error:
            tell(error)
            worst = worst or exit_of(error)
    return worst


def say(text: str) -> None:
    """A line for people, on stderr, so that stdout stays what -f asked for."""
    print(text, file=sys.stderr, flush=True)
