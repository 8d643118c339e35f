"""Calls as they travel: arguments and answers as JSON of records, failures as faults."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from stillframe import records
from stillframe.errors.base import Reported, StillframeError, fault_of
from stillframe.model import Fault

LOG = logging.getLogger(__name__)

# Of the server. Raised in its minor part when a call or an argument is added: each call names the version that it came
# with, and a server answers every older minor. Keys of records come and go without it (see records.py).
VERSION = "1.3"

Answer = dict[str, Any]


def answered(ask: Callable[[], Any]) -> Answer:
    """What `ask` returns, or the failure that it raises."""
    try:
        return {"value": ask()}
    except StillframeError as error:
        return {"fault": records.dump(error.fault)}
    except Exception as error:
        LOG.exception("unexpected failure of a call")
        return {"fault": records.dump(fault_of(error))}


def value(answer: Answer) -> Any:
    """The value of an answer; raises the failure as Reported."""
    if "fault" in answer:
        raise Reported(records.load(Fault, answer["fault"]))
    return answer["value"]
