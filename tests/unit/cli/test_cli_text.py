"""Numbers and lines as people read them, the live bar, and the commands of the service's own machine."""

from __future__ import annotations

import argparse
import configparser
import io
import sys
from pathlib import Path

import pytest

from stillframe import config
from stillframe.api.passwords import parse
from stillframe.cli.display import Live, Plain, display_for
from stillframe.cli.main import main
from stillframe.cli.record import record, steps
from stillframe.cli.text import byte_count, human_bytes, human_seconds, key_value
from stillframe.cli.timeline import progress_line, timeline
from stillframe.model import Progress
from tests.unit.cli.cli_service import capture, step


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1536, "1.50 KiB"),
        (15 << 20, "15.0 MiB"),
        (1 << 40, "1.00 TiB"),
        (1 << 60, "1024 PiB"),
    ],
)
def test_bytes_for_people(count: int, text: str) -> None:
    assert human_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.042, "42 ms"), (3.31, "3.3 s"), (89.6, "1 min 30 s"), (3600, "1 h 0 min")]
)
def test_seconds_for_people(seconds: float, text: str) -> None:
    assert human_seconds(seconds) == text


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("1048576", 1 << 20), ("512k", 1 << 19), ("50M", 50 << 20), ("1.5GiB", 3 << 29), ("2TB", 2 << 40)],
)
def test_bytes_from_people(text: str, count: int) -> None:
    assert byte_count(text) == count


@pytest.mark.parametrize("text", ["", "k", "-1", "many", "1x", "nan", "inf"])
def test_what_is_no_number_of_bytes(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        byte_count(text)


@pytest.mark.parametrize("text", ["", "=", "=v", "k"])
def test_what_is_no_property(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        key_value(text)


def test_a_long_message_is_wrapped_under_itself() -> None:
    lines = timeline(steps([step("plan", 0, 1, message="word " * 30)]), width=80)
    assert len(lines) > 1
    assert all(len(line) <= 80 for line in lines)
    assert lines[1].startswith(" " * 30)


def test_what_only_administrators_are_told_stands_in_brackets() -> None:
    [line] = timeline(steps([step("way closed", 0, 1, message="The way clone is closed.", operator="pool vms")]))
    assert line.endswith("The way clone is closed. (pool vms)")


@pytest.mark.parametrize(("term", "kind"), [("xterm", Live), ("dumb", Plain), ("", Plain)])
def test_a_terminal_that_cannot_draw_gets_plain_lines(
    term: str, kind: type[Live | Plain], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    display = display_for(Terminal())
    assert isinstance(display, kind)
    display.close()
    assert isinstance(display_for(io.StringIO()), Plain)


def test_the_live_bar_shows_percent_rate_time_left_and_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    display = Live(terminal)
    freeze = step("freeze", 1, 2)
    display.update(record(capture("pending")["capture"]))
    display.update(
        record(capture("running", freeze, step("transfer", 2, None), done=1 << 20, total=4 << 20)["capture"])
    )
    display.close()
    shown = terminal.getvalue()
    for part in ("freeze: 1.0 s", "transfer", "25%", "1.00 MiB of 4.00 MiB", "1.00 MiB/s", "3.0 s left"):
        assert part in shown


def test_plain_lines_come_seconds_apart() -> None:
    now = [0.0]
    out = io.StringIO()
    display = Plain(out, monotonic=lambda: now[0])
    for tick in range(100):
        now[0] = tick / 10
        moving = capture("running", step("transfer", 0, None), done=tick << 20, total=100 << 20)
        display.update(record(moving["capture"]))
    lines = out.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines] == ["transfer: 0%", "transfer: 30%", "transfer: 60%", "transfer: 90%"]


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (Progress(256 << 10, 0, 1e6), "copy: 256 KiB"),  # nothing known to be moved
        (Progress(3 << 20, 2 << 20, 1e6), "copy: 150%, 3.00 MiB of 2.00 MiB"),
        (Progress(1 << 20, 4 << 20, 0.0), "copy: 25%, 1.00 MiB of 4.00 MiB"),
    ],
)
def test_progress_tells_only_what_is_known(progress: Progress, text: str) -> None:
    assert progress_line("copy", progress) == text


def test_a_password_line_lets_its_user_in(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("correct horse\n"))
    assert main(["password", "alice", "--project", "p1", "--role", "reader", "--role", "member"]) == 0
    line = capsys.readouterr().out
    assert line.endswith(":p1:reader,member\n")
    assert "correct horse" not in line
    assert list(parse(line, "default")) == ["alice"]


def test_roles_without_project_keep_their_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("x\n"))
    assert main(["password", "root", "--role", "admin"]) == 0
    entry = parse(capsys.readouterr().out, "default")["root"]
    assert entry.caller.project_id == "default"
    assert "admin" in entry.caller.roles


@pytest.mark.parametrize("password", ["", "x" * 73])
def test_passwords_that_bcrypt_would_not_tell_apart_are_refused(
    password: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{password}\n"))
    assert main(["password", "alice"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "1 to 72 bytes" in said.err


def test_the_sample_holds_every_option_and_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "sample"]) == 0
    sample = capsys.readouterr().out
    for group, options in config.list_opts():
        for option in options:
            assert f"\n#{option.dest} = " in sample.partition(f"[{group or 'DEFAULT'}]")[2], option.dest
    path = tmp_path / "stillframe.conf"
    path.write_text(sample)
    assert config.load(files=[path]).agent == config.load(files=[]).agent
    configparser.ConfigParser(interpolation=None).read_string(sample)


def test_up_says_what_is_wrong_with_the_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "stillframe.conf"
    path.write_text("[agent]\nheartbeat = often\n")
    assert main(["up", "--config-file", str(path)]) == 1
    said = capsys.readouterr().err
    assert "often" in said
    assert "[config-invalid]" in said
    assert "Traceback" not in said
