from __future__ import annotations

import pytest

from tools.reference import DIRECTORY, pages


@pytest.mark.parametrize("name", ["configuration.md", "commands.md", "errors.md", "urls.md"])
def test_the_reference_says_what_the_code_does(name: str) -> None:
    assert (DIRECTORY / name).read_text() == pages()[name], "run `make docs`"
