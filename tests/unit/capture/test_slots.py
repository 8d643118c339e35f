from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest

from lab.wait import until
from stillframe.capture.slots import Slots
from stillframe.errors.capture import CaptureCancelled


def nothing() -> None:
    pass


def in_thread(target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def test_turns_come_in_the_order_they_were_asked_for() -> None:
    slots = Slots(1)
    order: list[int] = []
    asked: list[int] = []

    def wait(number: int) -> None:
        asked.append(number)
        with slots.turn(slots.place(), nothing):
            order.append(number)

    with slots.turn(slots.place(), nothing):
        threads = [_queued(slots, partial(wait, number), number) for number in range(5)]
        assert order == []
    for thread in threads:
        thread.join(5)
    assert order == asked


def _queued(slots: Slots, target: Callable[[], None], before: int) -> threading.Thread:
    thread = in_thread(target)
    until(lambda: len(slots._queue) == before + 1, 5, "the next in the queue")
    return thread


def test_as_many_as_there_are_slots_run_at_once() -> None:
    slots = Slots(2)
    with slots.turn(slots.place(), nothing), slots.turn(slots.place(), nothing):
        late = threading.Event()
        thread = in_thread(lambda: _enter(slots, late))
        until(lambda: len(slots._queue) == 1, 5, "the third in the queue")
        assert not late.is_set()
    thread.join(5)
    assert late.is_set()


def test_who_came_first_is_first_even_if_it_asks_later() -> None:
    slots = Slots(1)
    order: list[int] = []

    def wait(place: int) -> None:
        with slots.turn(place, nothing):
            order.append(place)

    first, second = slots.place(), slots.place()
    threads = [_queued(slots, partial(wait, second), 0)]  # the slot is free, but the first is still being planned
    threads.append(in_thread(partial(wait, first)))
    for thread in threads:
        thread.join(5)
    assert order == [first, second]


def test_nobody_waits_for_one_that_left_or_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = Slots(1)
    slots.leave(slots.place())
    with slots.turn(slots.place(), nothing) as waited:
        assert not waited
    monkeypatch.setattr("stillframe.capture.slots.PATIENCE", 0.0)
    slots.place()
    with slots.turn(slots.place(), nothing) as waited:
        assert not waited


def _enter(slots: Slots, entered: threading.Event) -> None:
    with slots.turn(slots.place(), nothing):
        entered.set()


def test_who_is_cancelled_leaves_the_queue_to_the_others() -> None:
    slots = Slots(1)

    def cancelled() -> None:
        raise CaptureCancelled

    with slots.turn(slots.place(), nothing), pytest.raises(CaptureCancelled), slots.turn(slots.place(), cancelled):
        pass
    with slots.turn(slots.place(), cancelled):
        pass  # the slot is free and nobody is before us: no look at the cancel is needed


def test_who_left_in_the_middle_of_its_turn_holds_up_nobody_and_counts_once() -> None:
    slots = Slots(1)
    place = slots.place()
    with slots.turn(place, nothing):
        slots.leave(place)
        with slots.turn(slots.place(), nothing):
            assert len(slots._served) == 1
    assert not slots._served
