from __future__ import annotations

import pytest

from stillframe.images.locations import backends


@pytest.mark.parametrize(
    ("volume", "configured", "expected"),
    [
        (None, (), ()),
        (None, ("west",), ("west",)),
        (None, (" west ", "east", "west", ""), ("west", "east")),
        ({"stores": "east, west"}, ("north",), ("east", "west")),  # the volume's own go before what is configured
        ({"stores": ""}, ("north",), ()),
        ({"image_id": "1"}, ("north",), ()),  # a volume that tells no store is no local disk
    ],
)
def test_the_stores_of_an_image_follow_its_root_disk(
    volume: dict[str, str] | None, configured: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert backends(volume, configured) == expected
