"""`image save`: whole and compared under its name, or nothing there at all."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stillframe.cli.main import main
from tests.unit.cli.cli_service import CAPTURE, Asked, Reply, Service, fault, serving

DATA = os.urandom(1 << 20) + bytes(8 << 20) + os.urandom(12345)


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    (tmp_path / "here").mkdir()
    with serving(tmp_path) as made:
        monkeypatch.setenv("STILLFRAME_SOCKET", str(made.socket))
        monkeypatch.chdir(tmp_path / "here")
        offer(made)
        made.on("GET", f"/image/v2/images/{CAPTURE}/file", Reply(DATA))
        yield made


def offer(service: Service, **more: Any) -> None:
    digest = hashlib.sha256(DATA).hexdigest()
    image = {"id": CAPTURE, "name": "golden", "status": "active", "disk_format": "raw", "size": len(DATA)}
    image |= {"os_hash_algo": "sha256", "os_hash_value": digest} | more
    service.on("GET", f"/image/v2/images/{CAPTURE}", image)


def files() -> list[str]:
    return sorted(path.name for path in Path.cwd().iterdir())


def test_the_file_is_the_image_and_its_zeros_are_holes(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image", "save", CAPTURE]) == 0
    path = Path(f"{CAPTURE}.raw")
    assert files() == [path.name]
    assert path.read_bytes() == DATA
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_blocks * 512 < 4 << 20
    said = capsys.readouterr()
    assert hashlib.sha256(DATA).hexdigest() in said.err
    assert said.out == ""


def test_an_image_without_hash_is_saved_and_that_is_said(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    offer(service, os_hash_algo=None, os_hash_value=None)
    assert main(["image", "save", CAPTURE, "--file", "x.img"]) == 0
    assert files() == ["x.img"]
    assert "no sha256 to compare with" in capsys.readouterr().err


def test_a_wrong_hash_leaves_nothing(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    offer(service, os_hash_value="00" * 32)
    assert main(["image", "save", CAPTURE]) == 7
    assert files() == []
    assert f"its sha256 is {'00' * 32}, but" in capsys.readouterr().err


@pytest.mark.parametrize("cut", [0, 100_000, len(DATA) - 1])
def test_a_broken_connection_leaves_nothing(service: Service, cut: int, capsys: pytest.CaptureFixture[str]) -> None:
    service.on("GET", f"/image/v2/images/{CAPTURE}/file", Reply(DATA, cut=cut))
    assert main(["image", "save", CAPTURE]) == 7
    assert files() == []
    assert "[image-not-saved]" in capsys.readouterr().err


def test_too_few_bytes_are_noticed_without_a_hash(service: Service) -> None:
    offer(service, os_hash_algo=None, os_hash_value=None)
    service.on("GET", f"/image/v2/images/{CAPTURE}/file", Reply(DATA[:-1]))
    assert main(["image", "save", CAPTURE]) == 7
    assert files() == []


def test_a_refusal_of_the_service_leaves_nothing(service: Service) -> None:
    refusal = fault(403, "forbidden", "forbidden", "Policy does not allow download_image to be performed.")
    service.on("GET", f"/image/v2/images/{CAPTURE}/file", refusal)
    assert main(["image", "save", CAPTURE]) == 6
    assert files() == []


def test_an_image_in_the_making_is_not_asked_for(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    offer(service, status="saving", size=None)
    assert main(["image", "save", CAPTURE]) == 7
    assert "it is saving, not active" in capsys.readouterr().err
    assert not [asked for asked in service.asked if asked.path.endswith("/file")]


def test_what_is_there_is_replaced_only_when_asked(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    Path("x.img").write_bytes(b"mine")
    assert main(["image", "save", CAPTURE, "--file", "x.img"]) == 7
    assert Path("x.img").read_bytes() == b"mine"
    assert "the file exists" in capsys.readouterr().err
    assert main(["image", "save", CAPTURE, "--file", "x.img", "--overwrite"]) == 0
    assert Path("x.img").read_bytes() == DATA
    assert files() == ["x.img"]


def test_what_came_to_be_there_meanwhile_is_not_replaced(service: Service) -> None:
    def answer(_: Asked) -> Reply:
        Path("x.img").write_bytes(b"theirs")
        return Reply(DATA)

    service.on("GET", f"/image/v2/images/{CAPTURE}/file", answer)
    assert main(["image", "save", CAPTURE, "--file", "x.img"]) == 7
    assert Path("x.img").read_bytes() == b"theirs"
    assert files() == ["x.img"]


def test_a_missing_directory_is_said(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image", "save", CAPTURE, "--file", "no/such/x.img"]) == 7
    assert "No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_signals_leave_nothing(service: Service, name: str, code: int) -> None:
    processes: list[subprocess.Popen[bytes]] = []

    def answer(_: Asked) -> Reply:
        assert any(part.endswith(".part") for part in files())
        processes[0].send_signal(signal.Signals[name])
        processes[0].wait(20)
        return Reply(DATA)

    service.on("GET", f"/image/v2/images/{CAPTURE}/file", answer)
    argv = [sys.executable, "-m", "stillframe.cli.main", "image", "save", CAPTURE]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
        processes.append(process)
        assert process.wait(30) == code
    assert files() == []
