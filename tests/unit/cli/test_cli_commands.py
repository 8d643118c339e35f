"""The commands against canned answers: what they ask, print and exit with."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stillframe.cli import wait as waiting
from stillframe.cli.main import COMMANDS, main
from stillframe.cli.wait import Pace
from tests.unit.cli.cli_service import CAPTURE, SERVER, Asked, Reply, Service, capture, fault, server, serving, step

OTHER = "33333333-3333-4333-8333-333333333333"


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    for name in ("OS_CLOUD", "OS_AUTH_URL", "OS_AUTH_TYPE", "OS_ENDPOINT", "OS_CLIENT_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(waiting, "Pace", lambda: Pace(sleep=lambda _: None))
    with serving(tmp_path) as made:
        monkeypatch.setenv("STILLFRAME_SOCKET", str(made.socket))
        made.on("GET", "/v2.1/servers/detail", {"servers": [server()]})
        made.on("GET", f"/v2.1/servers/{SERVER}", {"server": server()})
        made.on("POST", f"/v2.1/servers/{SERVER}/action", Reply({"image_id": CAPTURE}, 202))
        yield made


def test_server_list_in_every_format(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["server", "list", "-f", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows == [{"ID": SERVER, "Name": "db", "Status": "ACTIVE", "Task State": None, "Host": "host1"}]
    assert main(["server", "list", "-f", "yaml"]) == 0
    assert (
        capsys.readouterr().out == f"- Host: host1\n  ID: {SERVER}\n  Name: db\n  Status: ACTIVE\n  Task State: null\n"
    )
    assert main(["server", "list", "-f", "value", "-c", "ID"]) == 0
    assert capsys.readouterr().out == f"{SERVER}\n"
    assert main(["server", "list"]) == 0
    table = capsys.readouterr().out
    assert "| Name |" in table
    assert "None" not in table


def test_server_list_asks_page_by_page_until_the_last(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    def page(asked: Asked) -> Reply:
        if "marker" not in asked.query:
            return Reply({"servers": [server("a", SERVER)], "servers_links": [{"rel": "next", "href": "x"}]})
        assert asked.query["marker"] == SERVER
        return Reply({"servers": [server("b", OTHER)]})

    service.on("GET", "/v2.1/servers/detail", page)
    assert main(["server", "list", "-f", "value", "-c", "Name"]) == 0
    assert capsys.readouterr().out == "a\nb\n"
    assert main(["server", "list", "-f", "value", "-c", "Name", "--limit", "1"]) == 0
    assert capsys.readouterr().out == "a\n"
    assert service.asked[-1].query["limit"] == "1"


def test_a_server_is_found_by_name_whatever_is_in_it(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    near = [server("Web.1", OTHER), server("web.1")]
    service.on("GET", "/v2.1/servers/detail", {"servers": near})
    service.on("GET", f"/v2.1/servers/{SERVER}", {"server": near[1]})
    assert main(["server", "show", "web.1", "-f", "value", "-c", "id"]) == 0
    assert capsys.readouterr().out == f"{SERVER}\n"
    assert service.asked[0].query["name"] == r"^web\.1$"


def test_an_ambiguous_name_lists_the_ids(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    service.on("GET", "/v2.1/servers/detail", {"servers": [server(), server(identifier=OTHER)]})
    assert main(["server", "show", "db"]) == 2
    said = capsys.readouterr()
    assert f"{SERVER}, {OTHER}" in said.err
    assert said.out == ""


def test_unknown_servers_and_images_exit_with_3(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    service.on("GET", "/v2.1/servers/detail", {"servers": []})
    service.on("GET", "/image/v2/images", {"images": []})
    assert main(["server", "show", "nobody"]) == 3
    assert "nobody could not be found. [instance-not-found]" in capsys.readouterr().err
    assert main(["server", "show", OTHER]) == 3
    assert main(["image", "show", OTHER]) == 3
    assert main(["capture", "show", OTHER]) == 3


@pytest.mark.parametrize(
    ("status", "name", "code"),
    [
        (400, "badRequest", 2),
        (401, "unauthorized", 6),
        (403, "forbidden", 6),
        (409, "conflictingRequest", 4),
        (500, "computeFault", 1),
        (503, "serviceUnavailable", 5),
    ],
)
def test_faults_become_words_and_exit_codes(
    service: Service, capsys: pytest.CaptureFixture[str], status: int, name: str, code: int
) -> None:
    answer = fault(status, name, "the-code", "The sentence.", hint="The hint.", operator="/the/path")
    service.on("POST", f"/v2.1/servers/{SERVER}/action", answer)
    assert main(["server", "image", "create", "db", "--name", "golden"]) == code
    said = capsys.readouterr()
    assert said.err == "stillframe: The sentence. [the-code]\nOperator: /the/path\nHint: The hint.\n"
    assert said.out == ""


def test_an_answer_that_is_no_json_is_told_apart(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    service.on("GET", "/v2.1/servers/detail", Reply(b"<html>nginx</html>"))
    assert main(["server", "list"]) == 5
    assert "not JSON" in capsys.readouterr().err
    service.on("GET", "/v2.1/servers/detail", Reply(b"<html>bad gateway</html>", 502))
    assert main(["server", "list"]) == 5
    assert "502" in capsys.readouterr().err


def test_no_service_is_said_with_the_systems_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "none.sock"
    assert main(["--socket", str(missing), "server", "list"]) == 5
    said = capsys.readouterr().err
    assert f"cannot be reached at {missing}: No such file or directory. [service-unreachable]" in said
    assert "stillframe up" in said


def test_plain_create_is_novas_create_image(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    service.on("GET", f"/v2.1/captures/{CAPTURE}", capture("pending"))
    argv = ["server", "image", "create", "db", "--name", "golden", "--property", "a=b", "--property", "c=d=e"]
    assert main([*argv, "-f", "json"]) == 0
    assert service.bodies("POST") == [{"createImage": {"name": "golden", "metadata": {"a": "b", "c": "d=e"}}}]
    shown = json.loads(capsys.readouterr().out)
    assert shown["id"] == CAPTURE
    assert shown["status"] == "pending"


def test_wishes_go_to_captures(service: Service) -> None:
    service.on("POST", "/v2.1/captures", Reply(capture("pending"), 202))
    service.on("GET", f"/v2.1/captures/{CAPTURE}", capture("pending"))
    argv = ["server", "image", "create", SERVER, "--name", "golden", "--disk", "vda", "--disk", "vdb"]
    argv += ["--disk-format", "qcow2", "--quiesce", "--trim", "--cold", "--bandwidth", "50M"]
    assert main(argv) == 0
    wanted: dict[str, Any] = {"server_id": SERVER, "name": "golden", "metadata": {}, "disks": ["vda", "vdb"]}
    wanted |= {"format": "qcow2", "quiesce": True, "trim": True, "cold": True, "bandwidth": 50 << 20}
    assert service.bodies("POST") == [{"capture": wanted}]
    assert main(["server", "image", "create", SERVER, "--name", "golden", "--all-disks"]) == 0
    assert service.bodies("POST")[-1]["capture"]["disks"] == "all"


@pytest.mark.parametrize(
    "wrong",
    [["--property", "novalue"], ["--bandwidth", "-1"], ["--bandwidth", "fast"], ["--disk", "vda", "--all-disks"], []],
)
def test_wrong_arguments_exit_with_2_before_anything_is_asked(service: Service, wrong: list[str]) -> None:
    name = ["--name", "golden"] if wrong else []
    with pytest.raises(SystemExit) as stop:
        main(["server", "image", "create", "db", *name, *wrong])
    assert stop.value.code == 2
    assert service.asked == []


def test_waiting_without_a_terminal_prints_lines_on_stderr_only(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    freeze = step("freeze", 1, 2, message="2 filesystems")
    service.on(
        "GET",
        f"/v2.1/captures/{CAPTURE}",
        capture("pending"),
        capture("running", freeze, step("transfer", 2, None), done=1 << 20, total=4 << 20),
        capture("running", freeze, step("transfer", 2, None), done=2 << 20, total=4 << 20),
        capture("completed", freeze, step("transfer", 2, 5, bytes=4 << 20), done=4 << 20, total=4 << 20),
    )
    assert main(["server", "image", "create", "db", "--name", "golden", "--wait", "-f", "json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["status"] == "completed"
    lines = said.err.splitlines()
    assert lines[0] == f"Capture {CAPTURE} of server db as 'golden'"
    assert "freeze: 1.0 s, 2 filesystems" in lines
    assert lines[-1] == "transfer: 3.0 s, 4.00 MiB"
    assert sum(line.startswith("transfer: ") for line in lines) <= 2  # seconds apart, and the test took none
    assert "\x1b" not in said.err


def test_a_failed_capture_prints_cause_hint_and_last_steps(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = {"code": "scratch-full", "message": "The scratch space ran full.", "hint": "Give it more room."}
    steps = [step("plan", 0, 1), step("transfer", 1, 3, failed=True, message="aborted")]
    service.on("GET", f"/v2.1/captures/{CAPTURE}", capture("failed", *steps, fault=broken))
    assert main(["server", "image", "create", "db", "--name", "golden", "--wait", "-f", "json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["fault"] == broken
    assert f"Capture {CAPTURE} of 'golden' failed." in said.err
    assert "Cause: The scratch space ran full. [scratch-full]\nHint: Give it more room.\nLast steps:\n" in said.err
    assert said.err.rstrip().endswith("FAILED: aborted")


def test_a_cancelled_capture_is_no_success(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    service.on("GET", f"/v2.1/captures/{CAPTURE}", capture("cancelled"))
    assert main(["capture", "watch", CAPTURE]) == 1
    assert "was cancelled" in capsys.readouterr().err


def test_waiting_outlives_a_restart_of_the_service(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    away = fault(503, "serviceUnavailable", "hypervisor-unavailable", "Starting.")
    service.on("GET", f"/v2.1/captures/{CAPTURE}", capture("running"), away, away, capture("completed"))
    assert main(["capture", "watch", CAPTURE]) == 0
    assert "Asking again." in capsys.readouterr().err


def test_a_service_that_stays_away_ends_the_waiting(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = iter(range(0, 1000, 10))
    monkeypatch.setattr(waiting, "Pace", lambda: Pace(sleep=lambda _: None, monotonic=lambda: float(next(seconds))))
    service.on("GET", f"/v2.1/captures/{CAPTURE}", fault(503, "serviceUnavailable", "x", "Away."))
    assert main(["capture", "watch", CAPTURE]) == 5


def test_timeout_leaves_the_capture_running(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = iter(range(1000))
    monkeypatch.setattr(waiting, "Pace", lambda: Pace(sleep=lambda _: None, monotonic=lambda: float(next(seconds))))
    service.on("GET", f"/v2.1/captures/{CAPTURE}", capture("running"))
    assert main(["capture", "watch", CAPTURE, "--timeout", "5"]) == 8
    said = capsys.readouterr()
    assert "has not ended within 5 seconds; it goes on. [still-running]" in said.err
    assert "DELETE" not in {asked.method for asked in service.asked}


def test_ctrl_c_says_that_the_capture_goes_on(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(waiting, "Pace", lambda: Pace(sleep=interrupted))
    service.on("GET", f"/v2.1/captures/{CAPTURE}", capture("running"))
    assert main(["capture", "watch", CAPTURE]) == 130
    said = capsys.readouterr()
    assert f"Capture {CAPTURE} goes on." in said.err
    assert f"stillframe capture cancel {CAPTURE}" in said.err
    assert said.out == ""


def test_capture_show_prints_way_refusals_instant_and_timeline(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    image = {
        "id": CAPTURE,
        "name": "golden",
        "disk": "vda",
        "disk_format": "qcow2",
        "size": 3 << 20,
        "sha256": "ab" * 32,
    }
    steps = [step("freeze", 1, 2, message="2 filesystems"), step("transfer", 2, 5, bytes=3 << 20)]
    data = capture(
        "completed",
        *steps,
        captured_at="2026-11-22T10:00:01.500000Z",
        consistency="filesystem",
        frozen_ms=73.2,
        images=[image],
    )
    service.on("GET", f"/v2.1/captures/{CAPTURE}", data)
    assert main(["capture", "show", CAPTURE]) == 0
    shown = capsys.readouterr().out
    table, _, timeline = shown.partition("Timeline:\n")
    for part in ("backup", "directory", "reflink+clone: /images is on ext4", ":00:01.500", "filesystem", "73.2"):
        assert part in table
    assert f"{CAPTURE}  vda  qcow2  3.00 MiB  sha256 {'ab' * 32}" in table
    assert "None" not in table
    lines = timeline.splitlines()
    assert lines[0].endswith("freeze          1.0 s             2 filesystems")
    assert lines[1].endswith("transfer        3.0 s   3.00 MiB")
    assert main(["capture", "show", CAPTURE, "-f", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {k: v for k, v in data["capture"].items() if k != "links"}
    assert main(["capture", "show", CAPTURE, "-c", "status"]) == 0
    assert "Timeline" not in capsys.readouterr().out


def test_capture_list_filters_by_server_and_status(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    service.on("GET", "/v2.1/captures", {"captures": [capture("running", done=1, total=4)["capture"]]})
    assert main(["capture", "list", "--server", "db", "--status", "running", "-f", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["Done"] == "25%"
    assert service.asked[-1].query == {"server_id": SERVER, "status": "running", "limit": "100"}


def test_cancelling_goes_on_after_a_refusal(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    ended = fault(409, "conflictingRequest", "capture-ended", "It has ended.")
    service.on("DELETE", f"/v2.1/captures/{OTHER}", ended)
    service.on("DELETE", f"/v2.1/captures/{CAPTURE}", Reply(status=202))
    assert main(["capture", "cancel", OTHER, CAPTURE]) == 4
    assert "It has ended. [capture-ended]" in capsys.readouterr().err
    assert [asked.path for asked in service.asked] == [f"/v2.1/captures/{OTHER}", f"/v2.1/captures/{CAPTURE}"]


def test_image_delete_by_name(service: Service) -> None:
    service.on("GET", "/image/v2/images", {"images": [{"id": CAPTURE, "name": "golden", "status": "active"}]})
    service.on("DELETE", f"/image/v2/images/{CAPTURE}", Reply(status=204))
    assert main(["image", "delete", "golden"]) == 0
    assert service.asked[-1].method == "DELETE"


def test_image_show_keeps_properties_apart(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    image = {"id": CAPTURE, "name": "golden", "status": "active", "size": 2048, "tags": [], "instance_uuid": SERVER}
    service.on("GET", f"/image/v2/images/{CAPTURE}", image)
    assert main(["image", "show", CAPTURE, "-f", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["size"] == 2048
    assert shown["properties"] == {"instance_uuid": SERVER}
    assert main(["image", "show", CAPTURE]) == 0
    assert "2.00 KiB" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command", [[], *(name.split() for name in COMMANDS)], ids=lambda words: "-".join(words) or "-"
)
def test_help_tells_the_exit_codes(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: int | str | None = main([*command, "--help"])
    except SystemExit as stop:
        code = stop.code
    assert not code
    assert "  130  interrupted by Ctrl-C" in capsys.readouterr().out


def test_help_imports_nothing_slow() -> None:
    probe = "import sys; from stillframe.cli.main import main\ntry: main(['server', 'image', 'create', '--help'])\n"
    probe += "finally: print([m for m in ('requests', 'keystoneauth1', 'openstack', 'rich', 'oslo_config', 'falcon',"
    probe += " 'sqlalchemy') if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=30, check=True)
    assert done.stderr.strip() == "[]"


def test_help_is_quick() -> None:
    def seconds() -> float:
        """Of a processor: the machine's other work does not count."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before = seconds()
    for command in ([], ["server", "image", "create"]):
        argv = [sys.executable, "-m", "stillframe.cli.main", *command, "--help"]
        subprocess.run(argv, capture_output=True, timeout=30, check=True)
    assert (seconds() - before) / 2 < 0.5
