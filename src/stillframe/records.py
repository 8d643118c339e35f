"""Records to JSON-ready dictionaries and back.

Neighbouring releases talk to each other and read each other's journals: an unknown key is ignored, a missing one
takes the field's default.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

from cattrs.preconf.json import make_converter

T = TypeVar("T")

_converter = make_converter()


def dump(record: Any) -> dict[str, Any]:
    """The record as a dictionary of JSON types; times as ISO 8601, enumerations as their values."""
    data: dict[str, Any] = _converter.unstructure(record)
    return data


def load(kind: type[T], data: Any) -> T:
    """A record of this kind from what `dump` gave; raises cattrs.BaseValidationError for what does not fit."""
    return _converter.structure(data, kind)


def dumps(record: Any) -> str:
    """The record as one line of JSON."""
    return json.dumps(_converter.unstructure(record), separators=(",", ":"))


def loads(kind: type[T], text: str) -> T:
    """A record of this kind from one line of JSON."""
    return load(kind, json.loads(text))
