from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import select

from lab.wait import until
from stillframe.controller.claims import Claims
from stillframe.controller.database import Database
from stillframe.controller.schema import claims


@pytest.fixture
def other(url: str) -> Iterator[Database]:
    """Another controller's."""
    database = Database(url)
    yield database
    database.close()


def test_a_claim_is_one_controllers_until_it_is_released(db: Database, other: Database) -> None:
    mine, theirs = Claims(db), Claims(other)
    assert mine.take("work")
    assert not theirs.take("work")
    assert theirs.take("other work")
    assert mine.take("work")
    theirs.release("work")
    assert not theirs.take("work")
    mine.release("work")
    assert theirs.take("work")


def test_a_dead_controllers_claim_lapses(db: Database, other: Database) -> None:
    dead, alive = Claims(db, seconds=1.0), Claims(other)
    assert dead.take("work")
    assert not alive.take("work")
    until(lambda: alive.take("work"), 5, "the end of the claim")
    assert not dead.take("work")


def test_a_claim_that_only_a_clock_can_have_made_that_was_set_back_since_is_none(db: Database, other: Database) -> None:
    assert Claims(db, seconds=3600).take("work")
    assert Claims(other).take("work")


def test_work_that_failed_is_for_whoever_asks_next(db: Database, other: Database) -> None:
    with pytest.raises(ZeroDivisionError), Claims(db).held("work") as is_mine:
        assert is_mine
        _ = 1 / 0
    assert Claims(other).take("work")


def test_work_of_others_is_not_released_by_a_failure(db: Database, other: Database) -> None:
    assert Claims(other).take("work")
    with pytest.raises(ZeroDivisionError), Claims(db).held("work") as is_mine:
        assert not is_mine
        _ = 1 / 0
    assert not Claims(db).take("work")


def test_of_many_at_once_exactly_one_gets_it(db: Database, other: Database) -> None:
    barrier = threading.Barrier(8)
    winners: list[str] = []

    def take(worker: Claims) -> None:
        barrier.wait(30)
        if worker.take("work"):
            winners.append(worker.owner)

    workers = [Claims((db, other)[number % 2]) for number in range(8)]
    threads = [threading.Thread(target=take, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    owner = db.read(lambda connection: connection.scalar(select(claims.c.owner)))
    assert winners == [owner]


def test_what_dead_controllers_left_is_removed_in_time(db: Database) -> None:
    Claims(db, seconds=-4000).take("long ago")
    Claims(db, seconds=-10).take("just now")
    assert Claims(db).forget_old() == 1
    assert db.read(lambda connection: connection.scalars(select(claims.c.name)).all()) == ["just now"]
