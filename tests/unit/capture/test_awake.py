"""The wish that processors stay awake: held as long as the block, and no matter where it is not allowed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from stillframe.capture import awake


def _held(device: Path) -> bool:
    return any(file.is_symlink() and file.readlink() == device for file in Path("/proc/self/fd").iterdir())


def test_no_latency_is_wished_for_as_long_as_the_block_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path / "latency"
    device.touch()
    monkeypatch.setattr(awake, "_DEVICE", str(device))
    with pytest.raises(KeyError), awake.awake():
        assert _held(device)
        assert device.read_bytes() == bytes(4)
        raise KeyError
    assert not _held(device)


@pytest.mark.parametrize(("driver", "wish"), [("intel_idle", 10), ("haltpoll", 0), (None, 10)])
def test_a_processor_may_halt_unless_a_hypervisor_takes_it_then(
    driver: str | None, wish: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, current = tmp_path / "latency", tmp_path / "current_driver"
    device.touch()
    if driver is not None:
        current.write_text(f"{driver}\n")
    monkeypatch.setattr(awake, "_DEVICE", str(device))
    monkeypatch.setattr(awake, "_DRIVER", current)
    with awake.light_sleep():
        assert _held(device)
        assert int.from_bytes(device.read_bytes(), sys.byteorder) == wish
    assert not _held(device)


@pytest.mark.parametrize("device", ["/none/latency", "/dev/full"])  # that cannot be opened, that cannot be written
def test_where_it_is_not_allowed_the_block_runs_all_the_same(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awake, "_DEVICE", device)
    ran = []
    with awake.awake():
        ran.append(True)
    assert ran == [True]
