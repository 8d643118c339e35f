from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest

from stillframe import records
from stillframe.errors.base import Reported
from stillframe.errors.capture import Superseded
from stillframe.messaging import wire
from stillframe.messaging.contract import HostReport, Order, Orders
from stillframe.model import Fault, ImageRequest, Wishes

ORDERS = Orders((Order("c1", "i1", (ImageRequest("c1", "golden"),), Wishes(), "req-1"),), ("c0",))


def test_a_failure_arrives_with_all_that_is_said_of_it() -> None:
    error = Superseded(reason="it was cancelled", operator="host two")

    def refuse() -> None:
        raise error

    with pytest.raises(Reported) as caught:
        wire.value(wire.answered(refuse))
    assert caught.value.fault == error.fault


def test_an_unforeseen_failure_is_logged_where_it_happened_and_arrives_as_internal(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("oh")

    with caplog.at_level(logging.ERROR), pytest.raises(Reported) as caught:
        wire.value(wire.answered(fail))
    assert (caught.value.fault.code, caught.value.fault.operator) == ("internal", "ZeroDivisionError: oh")
    assert "ZeroDivisionError" in caplog.text


def test_a_newer_releases_keys_are_ignored_and_an_older_ones_gaps_are_filled() -> None:
    newer: dict[str, Any] = records.dump(ORDERS) | {"weather": "fine"}
    newer["orders"][0]["colour"] = {"of": ["the", "sky"]}
    assert records.load(Orders, newer) == ORDERS
    older = {"host": "one", "agent_run": "run-1"}
    assert records.load(HostReport, older) == HostReport("one", "run-1")
    gaps = records.dump(ORDERS)
    for later in ("cancel", "instant"):
        del gaps["orders"][0][later]
    assert records.load(Orders, gaps) == ORDERS


def test_a_fault_in_an_order_survives_the_way() -> None:
    fault = Fault("cancelled", "The capture was cancelled by its user.", "Nothing.", "", 409)
    told = replace(ORDERS, orders=(replace(ORDERS.orders[0], cancel=fault),))
    assert records.load(Orders, wire.value(wire.answered(lambda: records.dump(told)))) == told
