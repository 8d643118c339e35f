"""The controller over SQLite on a real filesystem: heartbeats, inventories, pages among many captures.

    python -m bench controller

`other` is the floor of the same run: one committed SQLite transaction for what a heartbeat costs, writing the reported
records as JSON for an inventory, the same page among few captures for a page among many.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from bench.api import instance, milliseconds
from bench.experiment import Experiment, Options
from bench.results import Result
from stillframe import config, records
from stillframe.controller.captures import CaptureFilters, CaptureRequest, Captures
from stillframe.controller.database import Database
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.controller.schema import captures as table
from stillframe.messaging.contract import CaptureReport, HostReport
from stillframe.messaging.inprocess import InProcess
from stillframe.model import ImageRequest, Phase, Progress, Step, Wishes, now

DOMAINS = 1000
FEW, MANY = 1000, 100_000
PAGE = 50
CASES = (
    "controller-heartbeat-unchanged-ms",
    "controller-heartbeat-progress-ms",
    "controller-inventory-1000-new-ms",
    "controller-inventory-1000-same-ms",
    "controller-captures-page-100000-ms",
)
SETTINGS = config.load(files=[Path(os.devnull)]).controller
STEP = Step("transfer", now(), now(), "source backup, transfer directory: 5 of 10 GiB", 5 << 30)


@contextmanager
def database(path: Path) -> Iterator[Database]:
    """A new database of the present schema."""
    db = Database(f"sqlite:///{path}")
    db.upgrade()
    try:
        yield db
    finally:
        db.close()


def heartbeats(directory: Path, runs: int) -> list[Result]:
    """A host of 1000 domains that reports nothing new, and one that reports the progress of a capture."""
    floor = _floor(directory, runs)
    with database(directory / "heartbeats.sqlite") as db:
        endpoint = ControllerEndpoint(db, SETTINGS)
        first = HostReport("host", "run", (), "digest", tuple(map(instance, range(DOMAINS))))
        endpoint.heartbeat(first)
        same = replace(first, inventory=None)
        unchanged = [milliseconds(lambda: endpoint.heartbeat(same)) for _ in range(runs)]
        images = (ImageRequest(instance(0).id, "image"),)
        wanted = CaptureRequest(instance(0).id, None, None, "req", "createImage", "image", images)
        id_ = Captures(db, InProcess()).accept(wanted).id
        told = CaptureReport(id_, endpoint.begin(id_, "host", "run"), Phase.TRANSFERRING, steps=(STEP,) * 12)
        reports = [
            replace(same, captures=(replace(told, progress=Progress(done, 1 << 30, 1e8)),)) for done in range(runs)
        ]
        progress = [milliseconds(partial(endpoint.heartbeat, one)) for one in reports]
    against = "one SQLite transaction"
    return [
        Result.of(CASES[0], unchanged, floor, "ms", against),
        Result.of(CASES[1], progress, floor, "ms", against),
    ]


def inventories(directory: Path, runs: int) -> list[Result]:
    """1000 domains seen for the first time, and again under another digest with one of them changed."""
    domains = tuple(map(instance, range(DOMAINS)))
    changed = (replace(domains[0], name="renamed"), *domains[1:])
    new: list[float] = []
    same: list[float] = []
    floor: list[float] = []
    for number in range(runs):
        with database(directory / f"inventory-{number}.sqlite") as db:
            endpoint = ControllerEndpoint(db, SETTINGS)
            new.append(milliseconds(partial(endpoint.heartbeat, HostReport("host", "run", (), "first", domains))))
            same.append(milliseconds(partial(endpoint.heartbeat, HostReport("host", "run", (), "second", changed))))
        floor.append(milliseconds(lambda: [records.dumps(domain) for domain in domains]))
    against = "the same records as JSON"
    return [Result.of(CASES[2], new, floor, "ms", against), Result.of(CASES[3], same, floor, "ms", against)]


def pages(directory: Path, runs: int) -> Result:
    """A page from the middle of one project's finished captures."""
    times: dict[int, list[float]] = {}
    for captures in (FEW, MANY):
        with database(directory / f"{captures}.sqlite") as db:
            fill(db, captures)
            listing = Captures(db, InProcess())
            middle = partial(listing.list, CaptureFilters(), "project-0", PAGE, capture_id(captures // 2))
            times[captures] = [milliseconds(middle) for _ in range(runs)]
    return Result.of(CASES[4], times[MANY], times[FEW], "ms", f"the same among {FEW}")


def fill(db: Database, captures: int, since: int = 0) -> None:
    """Finished captures of the first 1000 instances in turn, of ten projects."""
    began = now() - timedelta(days=30)
    row: dict[str, Any] = {
        "host": "host",
        "request_id": "req",
        "name": "image",
        "kind": "snapshot",
        "rotated": True,
        "retired": False,
        "status": "completed",
        "phase": "ended",
        "attempt": 1,
        "images": (ImageRequest(instance(0).id, "image"),),
        "wishes": Wishes(),
        "report": CaptureReport("", "", Phase.ENDED, steps=(STEP,) * 12),
    }
    for start in range(since, since + captures, 1000):
        rows = [row | _own(number, began) for number in range(start, start + 1000)]
        db.write(lambda connection, rows=rows: connection.execute(insert(table), rows))  # type: ignore[misc]


def _own(number: int, began: Any) -> dict[str, Any]:
    at = began + timedelta(seconds=number)
    return {
        "id": capture_id(number),
        "instance_id": instance(number % DOMAINS).id,
        "project_id": f"project-{number % 10}",
        "created_at": at,
        "updated_at": at,
        "ended_at": at,
    }


def capture_id(number: int) -> str:
    """Of the capture that is that many after the first."""
    return f"{number:08x}-0000-4000-8000-000000000000"


def _floor(directory: Path, runs: int) -> list[float]:
    db = sqlite3.connect(directory / "floor.sqlite", isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)")
    times = [milliseconds(lambda: db.execute("INSERT INTO t (body) VALUES ('x')")) for _ in range(runs)]
    db.close()
    return times


def run(options: Options) -> list[Result]:
    """The cases, each with a database of its own."""
    with tempfile.TemporaryDirectory(prefix="sfb-", dir=options.directory) as made:
        directory = Path(made)
        return [
            *heartbeats(directory, options.runs(200)),
            *inventories(directory, options.runs(5)),
            pages(directory, options.runs(50)),
        ]


EXPERIMENT = Experiment("controller", CASES, run)
