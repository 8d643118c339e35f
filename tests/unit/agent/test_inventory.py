from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from stillframe.agent.inventory import Inventory
from stillframe.errors.base import StillframeError
from stillframe.errors.capture import HypervisorFailed, HypervisorUnavailable
from stillframe.hypervisor import inventory
from stillframe.hypervisor.connection import Connection
from stillframe.model import Instance


class Quiet:
    """A connection that tells no events."""

    def subscribe(self, _: Callable[..., None]) -> Callable[[], None]:
        return lambda: None


@pytest.mark.parametrize("error", [HypervisorUnavailable(), HypervisorFailed(what="list its domains")])
def test_what_cannot_be_asked_is_unknown_and_asked_again(
    error: StillframeError, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[StillframeError | tuple[Instance, ...]] = [(), error, ()]

    def answer(_: Connection) -> tuple[Instance, ...]:
        next_one = answers.pop(0)
        if isinstance(next_one, StillframeError):
            raise next_one
        return next_one

    monkeypatch.setattr(inventory, "inventory", answer)
    seen = Inventory(cast("Connection", Quiet()), lambda: None)
    seen.refresh()
    known = seen.digest
    assert known is not None
    seen._stale.set()

    seen.refresh()
    assert (seen.digest, seen.instances) == (None, None)
    seen.refresh()
    assert (seen.digest, seen.instances) == (known, ())
