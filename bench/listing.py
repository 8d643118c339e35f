"""Lists among 100,000 captures, through the API's Unix socket, on SQLite and on PostgreSQL.

    python -m bench listing

Three lists: the first page, a page in the middle by its marker, the captures of one server. `ours` is the slowest of
the three; `other` the same list among 1000 captures in the same database.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median

from bench.api import instance, milliseconds, serving
from bench.controller import FEW, MANY, PAGE, capture_id, fill
from bench.experiment import Experiment, Options
from bench.results import Result
from lab.postgres import Postgres

CASES = ("api-captures-100k-ms", "api-captures-100k-postgresql-ms")
RUNS = 50


def lists(directory: Path, case: str, connection: str | None, options: Options) -> Result:
    """The slowest list among MANY captures against the same among FEW."""
    runs = options.runs(RUNS)
    many = 5 * FEW if options.quick else MANY
    times: dict[int, dict[str, list[float]]] = {}
    with serving(directory, connection) as (client, db):
        for captures, more in ((FEW, FEW), (many, many - FEW)):
            fill(db, more, since=captures - more)
            client.close()  # the service ends connections that say nothing for so long; the next request opens one
            urls = {
                "the first page": f"/v2.1/captures?limit={PAGE}",
                "by a marker": f"/v2.1/captures?limit={PAGE}&marker={capture_id(captures // 2)}",
                "of a server": f"/v2.1/captures?limit={PAGE}&server_id={instance(7).id}",
            }
            times[captures] = {
                name: [milliseconds(partial(client.ask, "GET", url)) for _ in range(runs)] for name, url in urls.items()
            }
    slowest = max(times[many], key=lambda name: median(times[many][name]))
    against = f"{slowest}, among {FEW}"
    return Result.of(case, times[many][slowest], times[FEW][slowest], "ms", against)


def run(options: Options) -> list[Result]:
    """On a database of each kind, made for it."""
    with tempfile.TemporaryDirectory(prefix="sfb-", dir=options.directory) as made, ExitStack() as stack:
        directory = Path(made)
        directory.chmod(0o755)  # the server's own user reaches its part
        server = stack.enter_context(Postgres(directory / "postgres"))
        for name in ("sqlite", "postgresql"):
            (directory / name).mkdir()
        return [
            lists(directory / "sqlite", CASES[0], None, options),
            lists(directory / "postgresql", CASES[1], server.create("stillframe"), options),
        ]


EXPERIMENT = Experiment("listing", CASES, run)
