from __future__ import annotations

import threading
import time

from stillframe.capture.stillness import Stillness


def test_who_waits_goes_on_when_the_last_guest_moves_again() -> None:
    stillness, waited = Stillness(), threading.Event()

    def wait() -> None:
        stillness.wait(10)
        waited.set()

    with stillness.kept():
        with stillness.kept():
            thread = threading.Thread(target=wait)
            thread.start()
        assert not waited.is_set()
    thread.join(5)
    assert waited.is_set()


def test_nobody_waits_for_ever() -> None:
    stillness = Stillness()
    with stillness.kept():
        began = time.monotonic()
        stillness.wait(0.01)
        assert time.monotonic() - began >= 0.01
