"""Calls that may never return, each in a thread of its own that keeps no process from ending."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def begin(name: str, do: Callable[[], T], finally_: Callable[[], object] = lambda: None) -> Future[T]:
    """Does it in a thread of this name; what it returns or raises, after which `finally_` is called there."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(do())
        except BaseException as error:  # noqa: BLE001 - the one who waits has it
            future.set_exception(error)
        finally:
            finally_()

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
