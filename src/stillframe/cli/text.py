"""Numbers, times and lists as people read them; JSON and YAML get the bare values."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cliff.columns import FormattableColumn

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")
_FACTORS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def human_bytes(count: float) -> str:
    """1536 -> "1.5 KiB"; three digits at the least."""
    if count < 1024:
        return f"{count:.0f} B"
    power = min((int(count).bit_length() - 1) // 10, len(_UNITS))
    value = count / 1024**power
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f} {_UNITS[power - 1]}"


def human_seconds(seconds: float) -> str:
    """0.042 -> "42 ms", 3.3 -> "3.3 s", 90 -> "1 min 30 s", 4000 -> "1 h 6 min"."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def moment(text: str | None) -> datetime | None:
    """A time as the API writes it; None stays None."""
    return datetime.fromisoformat(text) if text else None


def clock(when: datetime | None) -> str:
    """The time of day in this machine's time zone, to the millisecond."""
    return when.astimezone().strftime("%H:%M:%S.%f")[:-3] if when else ""


class Size(FormattableColumn[int | None]):
    """Bytes."""

    def human_readable(self) -> str:
        return "" if self._value is None else human_bytes(self._value)


class Plain(FormattableColumn[Any]):
    """Anything; nothing is shown as nothing, not as None."""

    def human_readable(self) -> str:
        return "" if self._value is None else str(self._value)


class Time(Plain):
    """A time as the API writes it; tables show this machine's time zone, to the millisecond."""

    def human_readable(self) -> str:
        when = moment(self._value)
        return "" if when is None else when.astimezone().isoformat(" ", "milliseconds")


class Lines(FormattableColumn[Any]):
    """A list or a dictionary, one line an entry."""

    def human_readable(self) -> str:
        if isinstance(self._value, Mapping):
            return "\n".join(f"{key}={value}" for key, value in sorted(self._value.items()))
        return "\n".join(str(entry) for entry in self._value or ())


def key_value(text: str) -> tuple[str, str]:
    """K=V from the command line."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"'{text}' is not KEY=VALUE")
    return key, value


def byte_count(text: str) -> int:
    """A number of bytes from the command line: 1048576, 512k, 50M, 1.5GiB."""
    number = text.strip().lower().removesuffix("ib").removesuffix("b")
    unit = number[-1:] if number[-1:] in _FACTORS else ""
    try:
        count = int(float(number.removesuffix(unit)) * _FACTORS[unit])
    except (ValueError, OverflowError):
        count = -1
    if count < 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of bytes such as 1048576, 512k, 50M or 1G")
    return count
