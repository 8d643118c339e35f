"""A capture's record as the commands print it."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cliff.show import ShowOne

from stillframe.cli.text import Lines, Plain, Time, human_bytes

if TYPE_CHECKING:
    from stillframe.cli.client import Client
    from stillframe.cli.exits import Exit


class ShowCapture(ShowOne):
    """A ShowOne whose table is followed by the timeline."""

    exit_code: Exit

    def waited(self, client: Client, capture_id: str, timeout: float) -> tuple[Sequence[str], Sequence[Any]]:
        """The final record after waiting; the exit code tells how it ended."""
        from stillframe.cli.wait import outcome, wait  # noqa: PLC0415  (only where something is waited for)

        data = wait(client, capture_id, timeout)
        self.exit_code = outcome(data)
        return self.dict2columns(fields(data))

    def produce_output(self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Sequence[Any]) -> int:
        """For tables: what is not known yet is left out, and the timeline, with a width of its own, comes below."""
        if parsed_args.formatter != "table" or parsed_args.columns:
            return super().produce_output(parsed_args, column_names, data)
        values = {name: value for name, value in zip(column_names, data, strict=True) if str(value)}
        steps = values.pop("steps", Timeline(()))
        super().produce_output(parsed_args, tuple(values), tuple(values.values()))
        if steps.machine_readable():
            print("Timeline:", file=self.app.stdout)
            print(steps.human_readable(), file=self.app.stdout)
        return 0


class Timeline(Lines):
    """The steps, one line each."""

    def human_readable(self) -> str:
        from stillframe.cli.record import steps  # noqa: PLC0415  (for tables only)
        from stillframe.cli.timeline import timeline  # noqa: PLC0415

        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        return "\n".join(timeline(steps(self._value), width))


class Images(Lines):
    """What became of each image, one line each."""

    def human_readable(self) -> str:
        return "\n".join(_image(image) for image in self._value or ())


class Wishes(Lines):
    """Those that were given."""

    def human_readable(self) -> str:
        return "\n".join(f"{name}={value}" for name, value in (self._value or {}).items() if value)


class Progress(Lines):
    """Bytes, rate and time left."""

    def human_readable(self) -> str:
        from stillframe.cli.record import progress  # noqa: PLC0415  (for tables only)
        from stillframe.cli.timeline import how_far  # noqa: PLC0415

        return how_far(progress(self._value or {}))


class Failure(Lines):
    """Cause and hint."""

    def human_readable(self) -> str:
        fault = self._value
        return "\n".join(str(fault[key]) for key in ("message", "hint") if fault.get(key)) if fault else ""


TIMES = ("created_at", "started_at", "ended_at", "captured_at")

_COLUMNS: Mapping[str, type[Plain | Lines]] = {
    **dict.fromkeys(TIMES, Time),
    "refused": Lines,
    "held": Lines,
    "progress": Progress,
    "wishes": Wishes,
    "images": Images,
    "steps": Timeline,
    "fault": Failure,
}


def fields(capture: Mapping[str, Any]) -> dict[str, Any]:
    """The API's own names and order; only how a table shows them is added."""
    return {name: _COLUMNS.get(name, Plain)(value) for name, value in capture.items() if name != "links"}


def percent(capture: Mapping[str, Any]) -> str | None:
    """How much of the bytes is done; None while that is unknown."""
    share = (capture.get("progress") or {}).get("percent")
    return None if share is None else f"{share:.0f}%"


def add_timeout(parser: argparse.ArgumentParser) -> None:
    """--timeout, for all that wait."""
    parser.add_argument(
        "--timeout",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="Wait no longer than this; the capture goes on. Default: until it ends.",
    )


def _image(image: Mapping[str, Any]) -> str:
    parts = [image["id"], image.get("disk"), image.get("disk_format")]
    if image.get("size") is not None:
        parts.append(human_bytes(image["size"]))
    if image.get("sha256"):
        parts.append(f"sha256 {image['sha256']}")
    return "  ".join(part for part in parts if part)
