"""A service whose wall clock can be set; nobody else's is, and what it measures (monotonic) stays true."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab.service import Service
from lab.tools import ROOT, tool


class Clocked(Service):
    """`stillframe up` with its guard, beginning at the right time."""

    def command(self) -> Sequence[str | Path]:
        """In place of the plain one."""
        library = self.directory / "clock.so"
        tool("gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", library, ROOT / "lab" / "clock.c")
        self.set_clock(0)
        return "env", f"LD_PRELOAD={library}", f"LAB_CLOCK={self._offset}", *super().command()

    @property
    def _offset(self) -> Path:
        return self.directory / "clock"

    def set_clock(self, seconds: int) -> None:
        """From now on it differs from everybody else's by so much; negative: it is late."""
        draft = self._offset.with_suffix(".draft")
        draft.write_text(str(seconds))
        draft.rename(self._offset)
