"""`python -m lab.matrix.soak [--rounds N] [--seed N] [--lanes N] [--round N]`: random captures, random kills.

After each round the invariants of the matrix must hold.

In each round every guest of a lane is captured at once, each in one of its ways, some are cancelled, and the service is
killed once or twice at random moments. What happens in a round depends on seed and round only, as far as chance goes:
--round runs one again. Lanes share the rounds.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import threading
import time
import traceback
from functools import partial

from lab import captures
from lab.matrix import cell, settled
from lab.matrix.lane import Lane
from lab.matrix.run import side_by_side
from lab.matrix.ways import RUNNING, STOPPED, WAYS, Way
from stillframe.capture.rbdleases import DOUBT

LONGEST = 3.0  # seconds until a kill: captures of these guests take about one, a start of the service two
ENDS = 60.0
LANES = 2  # most of the time is spent waiting
LEFT = cell.GONE + DOUBT  # seconds: what a busy cluster did not answer in time is looked at again for so long


class DoesNotHold(Exception):  # noqa: N818 - reads as what it says
    """A round that broke an invariant, in the words that run it again."""


def main() -> int:
    """Runs the rounds; 1 at the first that does not hold."""
    options = argparse.ArgumentParser(
        prog="python -m lab.matrix.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--rounds", type=int, default=200)
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    options.add_argument("--lanes", type=int, default=LANES, help="rounds that are played side by side")
    options.add_argument("--round", type=int, help="this one only")
    chosen = options.parse_args()
    rounds = range(1, chosen.rounds + 1) if chosen.round is None else (chosen.round,)
    began = time.monotonic()
    try:
        side_by_side(rounds, min(chosen.lanes, len(rounds)), partial(_told, chosen.seed))
    except DoesNotHold as error:
        print(f"DOES NOT HOLD: {error}")
        return 1
    print(f"{len(rounds)} rounds hold, seed {chosen.seed}, {(time.monotonic() - began) / 60:.1f} minutes")
    return 0


def _told(seed: int, one: Lane, number: int) -> None:
    """One round, and how it ended."""
    try:
        ends = play(one, random.Random(f"{seed}/{number}"))  # noqa: S311 - chance is all that it is for
    except Exception as error:
        print(f"{traceback.format_exc()}\n{one.service.log()[-20000:]}")
        raise DoesNotHold(f"--seed {seed} --round {number}") from error
    print(f"round {number}: {', '.join(ends)}", flush=True)


def play(one: Lane, chance: random.Random) -> list[str]:
    """One round; how its captures ended. Raises what does not hold."""
    asked = [_asked(one, way) for way in _ways(chance)]
    for capture, _ in asked:
        if chance.random() < 0.2:
            one.service.request("DELETE", f"/v2.1/captures/{capture}")
    for _ in range(chance.randint(1, 2)):
        threading.Event().wait(chance.uniform(0, LONGEST))  # the random moment is what this is about
        os.kill(one.service.pid, signal.SIGKILL)
        if chance.random() < 0.2:
            cell.left_to_the_guard(one, asked[0][1])
        else:
            cell.started_again(one)
    return _held(one, asked)


def _ways(chance: random.Random) -> list[Way]:
    """One for each guest, in random order."""
    plain = [way for way in WAYS if not (way.turn or way.ceph)]
    found = [chance.choice([way for way in plain if way.guest == guest]) for guest in (*RUNNING, *STOPPED)]
    chance.shuffle(found)
    return found


def _asked(one: Lane, way: Way) -> tuple[str, Way]:
    return captures.begin(one.service, one.guests[way.guest][0], **way.wishes), way


def _held(one: Lane, asked: list[tuple[str, Way]]) -> list[str]:
    for capture, _ in asked:
        captures.ended(one.service, capture, ENDS)
    for _, way in asked:
        settled.nothing_is_left(one, way, LEFT)
    records = [captures.record(one.service, capture) for capture, _ in asked]
    settled.no_other_images(one, LEFT, *records)
    for record, (_, way) in zip(records, asked, strict=True):
        settled.tells_what_happened(record)
        settled.image_is_right(one, way, record)
        settled.pools_are_as_before(one, way, record, LEFT)
        one.service.request("DELETE", f"/image/v2/images/{record['id']}")
    return [f"{way.pair} {record['status']}" for record, (_, way) in zip(records, asked, strict=True)]


if __name__ == "__main__":
    sys.exit(main())
