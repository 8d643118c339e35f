from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, literal, select

from stillframe.controller import names
from stillframe.errors.request import BadRequest

ENGINE = create_engine("sqlite://")


def matches(pattern: str, name: str) -> bool:
    with ENGINE.connect() as connection:
        return bool(connection.scalar(select(literal(name).ilike(names.like(pattern), escape=names.ESCAPE))))


PIECES = st.sampled_from(["a", "b", "%", "_", "/", "-", ".", ".*", r"\.", r"\-", r"\(", "(", ")", " "])
CHARACTERS = st.text("ab%_/-.() ", max_size=8)


@given(st.lists(PIECES, max_size=6).map("".join), st.booleans(), st.booleans(), CHARACTERS)
def test_what_is_understood_means_what_the_regular_expression_means(
    pattern: str, start: bool, end: bool, name: str
) -> None:
    whole = "^" * start + pattern + "$" * end
    meant = "".join(
        piece if piece.startswith("\\") else re.sub(r"([()])", r"\\\1", piece)
        for piece in re.findall(r"\\.|[^\\]", whole)
    )
    assert matches(whole, name) == bool(re.search(meant, name, re.IGNORECASE))


@pytest.mark.parametrize("pattern", ["a+", "[ab]", "a|b", "a{2}", "*", "a?", r"\d", "a$b", "a^", "a\\"])
def test_what_is_not_understood_is_refused(pattern: str) -> None:
    with pytest.raises(BadRequest, match="Invalid input for query parameters name"):
        names.like(pattern)
