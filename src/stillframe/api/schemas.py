"""JSON schemas of bodies and queries, and the sentences about what does not fit, as Nova words them."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker, ValidationError

from stillframe.errors.request import BadRequest

Schema = dict[str, Any]

_FORMATS = FormatChecker(formats=())
_NAME_RULE = (
    "An invalid 'name' value was provided. The name must be: printable characters. "
    "Can not start or end with whitespace."
)


@_FORMATS.checks("name")
def _is_name(value: object) -> bool:
    """Printable characters with no blanks at the ends; the length is another rule's matter."""
    return not isinstance(value, str) or (value == value.strip() and all(map(_printable, value)))


@_FORMATS.checks("text")
def _is_text(value: object) -> bool:
    """What every database and header can hold: no half of a surrogate pair, no NUL."""
    return not isinstance(value, str) or not any(char == "\0" or "\ud800" <= char <= "\udfff" for char in value)


def _printable(char: str) -> bool:
    category = unicodedata.category(char)
    return category == "Zs" or category[0] not in "CZ"


@_FORMATS.checks("uuid")
def _is_uuid(value: object) -> bool:
    groups = value.split("-") if isinstance(value, str) else []
    hexes = all(char in "0123456789abcdefABCDEF" for group in groups for char in group)
    return hexes and [len(group) for group in groups] == [8, 4, 4, 4, 12]


NAME: Schema = {"type": "string", "format": "name", "minLength": 1, "maxLength": 255}
METADATA: Schema = {
    "type": "object",
    "patternProperties": {r"^[a-zA-Z0-9-_:. ]{1,255}\Z": {"type": "string", "format": "text", "maxLength": 255}},
    "additionalProperties": False,
}
COUNT: Schema = {"type": ["integer", "string"], "pattern": r"^[0-9]+\Z", "minimum": 0, "maximum": 10**9, "maxLength": 9}


def _action(name: str, properties: Schema, required: list[str]) -> Schema:
    inner = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {"type": "object", "properties": {name: inner}, "required": [name], "additionalProperties": False}


CREATE_IMAGE = _action("createImage", {"name": NAME, "metadata": METADATA}, ["name"])
CREATE_BACKUP = _action(
    "createBackup",
    {
        "name": NAME,
        "backup_type": {"type": "string", "format": "text", "maxLength": 255},
        "rotation": COUNT,
        "metadata": METADATA,
    },
    ["name", "backup_type", "rotation"],
)
CREATE_CAPTURE = _action(
    "capture",
    {
        "server_id": {"type": "string", "format": "uuid"},
        "name": NAME,
        "metadata": METADATA,
        "disks": {
            "anyOf": [
                {"enum": ["root", "all"]},
                {
                    "type": "array",
                    "items": {"type": "string", "minLength": 1, "maxLength": 64},
                    "minItems": 1,
                    "maxItems": 64,
                    "uniqueItems": True,
                },
            ]
        },
        "format": {"enum": ["raw", "qcow2", None]},
        "quiesce": {"type": "boolean"},
        "trim": {"type": "boolean"},
        "cold": {"type": "boolean"},
        "bandwidth": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
    },
    ["server_id", "name"],
)


class Body:
    """A compiled schema of a body; raises BadRequest that names the field and the value."""

    def __init__(self, schema: Schema) -> None:
        self._strict = Draft202012Validator(schema, format_checker=_FORMATS)
        self._tolerant = Draft202012Validator(_without_strangers(schema), format_checker=_FORMATS)

    def check(self, body: Any, *, strangers: bool = False) -> None:
        """With `strangers`, unknown keys are let be, as Nova does under /v2."""
        validator = self._tolerant if strangers else self._strict
        error = next(validator.iter_errors(body), None)
        if error is not None:
            raise BadRequest(reason=_body_words(error))


class Query:
    """The parameters that a list knows; strangers are refused from `strict` on, ignored before."""

    def __init__(self, *known: str) -> None:
        self._known = frozenset(known)

    def check(self, query: Mapping[str, list[str]]) -> None:
        """Raises BadRequest that names the strangers."""
        strangers = sorted(set(query) - self._known)
        if strangers:
            names = ", ".join(repr(name) for name in strangers)
            verb = "was" if len(strangers) == 1 else "were"
            raise BadRequest(reason=f"Additional properties are not allowed ({names} {verb} unexpected)")


def _body_words(error: ValidationError) -> str:
    if error.validator == "format" and error.validator_value == "name":
        return _NAME_RULE
    if error.path:
        return f"Invalid input for field/attribute {error.path[-1]}. Value: {_short(error.instance)}. {error.message}"
    return error.message


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 1000 else f"{text[:1000]}..."


def _without_strangers(schema: Schema) -> Schema:
    """The schema with its closed objects opened, except those whose keys follow a pattern."""
    opened = {name: _without_strangers(part) if isinstance(part, dict) else part for name, part in schema.items()}
    if "patternProperties" not in opened:
        opened.pop("additionalProperties", None)
    return opened
