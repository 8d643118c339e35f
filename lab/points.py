"""All points at which the lab can break Stillframe (stillframe.failpoints), found in its own source.

A lease kind, a step, a record or a call that is new has its points by being there; tests/unit/test_failpoints.py
proves that they are reached.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import stillframe
from stillframe.capture.leases import KINDS

SOURCE = Path(stillframe.__file__).parent
LEASE = ("journaling", "journaled", "taken", "giving-back", "given-back", "forgotten")
STEP = ("entered", "left")
AROUND = ("before", "after")


def points() -> tuple[str, ...]:
    """Every point by its name, sorted."""
    leases = {f"lease.{kind}.{moment}" for kind in KINDS for moment in LEASE}
    return tuple(sorted(leases.union(*(_of(file) for file in SOURCE.rglob("*.py")))))


def _of(file: Path) -> set[str]:
    return {point for node in ast.walk(ast.parse(file.read_text())) for point in _named(node)}


def _named(node: ast.AST) -> Iterator[str]:
    """The points of one call: `failpoints.reached`, `failpoints.around`, or a step of the timeline."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
        return
    words, owner = _words(node.args[0]), ast.unparse(node.func.value)
    match owner, node.func.attr:
        case "failpoints", "reached" if isinstance(node.args[0], ast.Constant):
            yield words
        case "failpoints", "around":
            yield from (f"{words}.{moment}" for moment in AROUND)
        case _, "step" if owner.endswith("timeline"):
            yield from (f"step.{words.partition(' ')[0]}.{moment}" for moment in STEP)


def _words(node: ast.expr) -> str:
    """A literal, or what an f-string begins with."""
    if isinstance(node, ast.JoinedStr):
        node = node.values[0]
    if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        return ""
    return node.value
