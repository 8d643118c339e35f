"""stillframe-api, stillframe-controller, stillframe-agent: the services of a cloud, each a command of its own."""

from __future__ import annotations

import argparse
import importlib
import sys
from importlib.metadata import version
from pathlib import Path

from stillframe import config
from stillframe.errors.base import StillframeError
from stillframe.services import process

WHAT = {
    "api": "Serve Stillframe's API until SIGTERM. The application stillframe.wsgi.api is the same for any WSGI server.",
    "controller": "Answer agents and end what nobody wants any more, until SIGTERM.",
    "agent": "Capture the instances of this hypervisor, until SIGTERM.",
}


def api() -> int:
    """The command stillframe-api."""
    return _main("api")


def controller() -> int:
    """The command stillframe-controller."""
    return _main("controller")


def agent() -> int:
    """The command stillframe-agent."""
    return _main("agent")


def _main(service: str) -> int:
    """The exit code."""
    program = f"stillframe-{service}"
    files = parser(service).parse_args().files or config.files_of(program)
    try:
        settings = config.load(files=files)
        process.log_to_stderr(settings.service.log_level)
        # only this one: an agent has neither SQLAlchemy nor the API in memory
        return process.run(importlib.import_module(f"stillframe.services.{service}").start, settings)
    except StillframeError as error:
        print(f"{program}: {error} {error.fault.hint}", file=sys.stderr)
        return 1


def parser(service: str) -> argparse.ArgumentParser:
    """The options of a service's command."""
    made = argparse.ArgumentParser(prog=f"stillframe-{service}", description=WHAT[service], allow_abbrev=False)
    made.add_argument("--version", action="version", version=f"%(prog)s {version('stillframe')}")
    made.add_argument(
        "--config-file",
        dest="files",
        metavar="PATH",
        type=Path,
        action="append",
        help="May be given several times, later ones win. Default: /etc/stillframe/stillframe.conf and"
        f" /etc/stillframe/stillframe-{service}.conf, where they exist.",
    )
    return made
