"""Writes docs/reference from the code: options, commands, errors, URLs. `make docs` runs it; a test compares."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from oslo_config import cfg

from stillframe import config, errors
from stillframe.api import routes
from stillframe.api.deps import Deps
from stillframe.api.policy import Policy
from stillframe.cli import daemons, main
from stillframe.cli.exits import MEANINGS
from stillframe.controller.captures import Captures
from stillframe.controller.database import Database
from stillframe.controller.hosts import Hosts
from stillframe.controller.servers import Servers
from stillframe.errors.base import Reported, StillframeError
from stillframe.images.directory import DirectoryStore
from stillframe.messaging.inprocess import InProcess

DIRECTORY = Path(__file__).resolve().parents[1] / "docs" / "reference"
MADE = "<!-- Made by `make docs` from the code; do not edit. -->\n\n"


def pages() -> dict[str, str]:
    """Name and text of every generated page."""
    return {
        "configuration.md": MADE + "\n".join(_configuration()),
        "commands.md": MADE + "\n".join(_commands()),
        "errors.md": MADE + "\n".join(_errors()),
        "urls.md": MADE + "\n".join(_urls()),
    }


def _configuration() -> Iterator[str]:
    yield "# Options\n"
    yield "`/etc/stillframe/stillframe.conf`, or `--config-file`. `stillframe config sample` prints them all.\n"
    for group, options in config.list_opts():
        yield f"## [{group or 'DEFAULT'}]\n\n| option | default | what |\n| --- | --- | --- |"
        yield from (_option(option) for option in options)
        yield ""


def _option(option: cfg.Opt) -> str:
    default = "" if option.default is None else f"`{option.default}`"
    choices = getattr(option.type, "choices", None)
    allowed = f" One of {', '.join(f'`{choice}`' for choice in choices)}." if choices else ""
    return f"| `{option.name}` | {default} | {option.help}{allowed} |"


def _commands() -> Iterator[str]:
    yield "# Commands\n"
    yield "Every command takes `-f json`, `-f yaml`, `-f table` or `-f value`.\n"
    yield "| exit code | meaning |\n| --- | --- |"
    yield from (f"| {int(code)} | {meaning} |" for code, meaning in MEANINGS.items())
    yield ""
    for name, target in main.COMMANDS.items():
        module, _, kind = target.partition(":")
        command = getattr(importlib.import_module(f"stillframe.cli.{module}"), kind)
        parser: argparse.ArgumentParser = command(None, None).get_parser(f"stillframe {name}")
        yield _help(f"stillframe {name}", parser)
    for service in daemons.WHAT:
        yield _help(f"stillframe-{service}", daemons.parser(service))


def _help(command: str, parser: argparse.ArgumentParser) -> str:
    return f"## {command}\n\n```text\n{parser.format_help().rstrip()}\n```\n"


def _errors() -> Iterator[str]:
    yield "# Errors\n"
    yield "Codes never change their meaning. The values stand where the braces are.\n"
    yield "| code | HTTP | what it says | what to do | administrators read also |\n| --- | --- | --- | --- | --- |"
    for module in pkgutil.iter_modules(errors.__path__, f"{errors.__name__}."):
        importlib.import_module(module.name)
    known = {kind.code: kind for kind in _subclasses(StillframeError)}
    for code, kind in sorted(known.items()):
        yield f"| `{code}` | {kind.status} | {_cell(kind.sentence)} | {_cell(kind.hint)} | {_cell(kind.for_operator)} |"
    yield ""


def _subclasses(kind: type[StillframeError]) -> Iterator[type[StillframeError]]:
    yield kind
    for child in kind.__subclasses__():
        if child is not Reported:
            yield from _subclasses(child)


def _urls() -> Iterator[str]:
    yield "# URLs\n"
    settings = config.load(files=[Path(os.devnull)])
    db = Database("sqlite://")
    store = DirectoryStore(Path())
    deps = Deps(settings, Servers(db), Captures(db, InProcess()), Hosts(db), store, tuple, int)
    policy = Policy(settings.oslo)
    tables = {
        f"Compute, below {_listed(routes.COMPUTE_ROOTS)}": routes.compute(deps, policy),
        f"Images, below {_listed(routes.IMAGE_ROOTS)}": routes.image(deps, store, policy),
        "For whoever is signed in": routes.service(deps, policy),
        "For anybody": routes.public(deps, policy),
    }
    for title, table in tables.items():
        yield f"## {title}\n\n| method | URL | what |\n| --- | --- | --- |"
        for url, methods in table.items():
            for method, handler in methods.items():
                yield f"| {method} | `{url}` | {_cell((handler.__doc__ or '').split(chr(10))[0])} |"
        yield ""
    yield "## Where Nova is behind\n"
    yield "With `[nova] pass_through`: the compute URLs that are not Nova's alone. All else is passed on as it came.\n"
    yield "| method | URL | whose |\n| --- | --- | --- |"
    for url, ways in routes.BESIDE_NOVA.items():
        yield from (f"| {method} | `{url}` | {way.value} |" for method, way in ways.items())
    yield ""


def _listed(roots: Sequence[str]) -> str:
    return ", ".join(f"`{root}`" for root in roots)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def write() -> int:
    """Writes the pages."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (DIRECTORY / name).write_text(text)
    return 0


os.environ["COLUMNS"] = "100"  # argparse and cliff fold help to the terminal's width

if __name__ == "__main__":
    sys.exit(write())
