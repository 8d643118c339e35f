"""Every failure that somebody is told of.

One class a failure: a code that never changes once it is released, the public sentence with its values, a hint what
to do, the HTTP status. The operator's part (paths, hosts, pools, the library's own words) is for administrators only:
a class has a sentence for it too where some of its values are not for everybody.
The same `Fault` reaches API, timeline, log, notifications and CLI.
"""

from __future__ import annotations

from typing import Any, ClassVar

from stillframe.model import Fault


class StillframeError(Exception):
    """Base of every failure; the values fill the class's sentence. Raise a subclass, never this."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    sentence: ClassVar[str] = "An unexpected failure inside Stillframe."
    hint: ClassVar[str] = "The service's log has the details under the same request id."
    for_operator: ClassVar[str] = ""

    def __init__(self, *, operator: str = "", **values: Any) -> None:
        """`operator`: what else there is to say to administrators, as the library's own words."""
        self.values = values
        self.fault = Fault(
            code=self.code,
            message=self.sentence.format(**values),
            hint=self.hint.format(**values),
            operator=": ".join(filter(None, (self.for_operator.format(**values), operator))),
            status=self.status,
        )
        super().__init__(self.fault.message)

    def __str__(self) -> str:
        return f"{self.fault.message} ({self.fault.operator})" if self.fault.operator else self.fault.message


class Reported(StillframeError):
    """A failure that reached us as a record: from another process, a message or the database."""

    def __init__(self, fault: Fault) -> None:
        Exception.__init__(self, fault.message)
        self.values = {}
        self.fault = fault


def fault_of(error: BaseException) -> Fault:
    """The fault to record for any exception; an unforeseen one becomes `internal` with its type and words."""
    if isinstance(error, StillframeError):
        return error.fault
    return StillframeError(operator=f"{type(error).__name__}: {error}").fault
