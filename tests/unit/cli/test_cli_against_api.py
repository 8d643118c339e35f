"""The commands against the real API over a real database and image directory; only the agent is played."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stillframe import config
from stillframe.api.app import application
from stillframe.api.deps import Deps
from stillframe.api.server import serve
from stillframe.cli import wait as waiting
from stillframe.cli.main import main
from stillframe.cli.wait import Pace
from stillframe.controller.captures import CaptureFilters, Captures
from stillframe.controller.database import Database
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.controller.hosts import Hosts
from stillframe.controller.servers import Servers
from stillframe.errors.capture import NoSpace
from stillframe.images.directory import DirectoryStore
from stillframe.messaging.contract import CaptureReport, HostReport, Order
from stillframe.messaging.inprocess import InProcess
from stillframe.model import (
    Consistency,
    Disk,
    Image,
    ImageResult,
    Instance,
    Instant,
    Layer,
    Phase,
    PowerState,
    Progress,
    Step,
    VmState,
    Way,
    now,
)

DB = "11111111-1111-4111-8111-111111111111"
TWIN = ("22222222-2222-4222-8222-222222222222", "33333333-3333-4333-8333-333333333333")
DATA = os.urandom(3 << 20)


def instance(identifier: str, name: str) -> Instance:
    disks = tuple(Disk(target, (Layer(f"/disks/{target}", "raw"),), 1 << 30) for target in ("vda", "vdb"))
    return Instance(identifier, name, name, VmState.ACTIVE, PowerState.RUNNING, disks, root="vda", run="boot:1")


INVENTORY = (instance(DB, "db (1)"), instance(TWIN[0], "twin"), instance(TWIN[1], "twin"))


@dataclass
class Agent:
    """Plays an agent: one report more whenever somebody waits."""

    endpoint: ControllerEndpoint
    captures: Captures
    store: DirectoryStore
    outcome: str = "completed"
    beats: int = 0
    acts: Iterator[None] | None = None
    orders: tuple[Order, ...] = field(default=())

    def beat(self, *reports: CaptureReport) -> None:
        """A heartbeat."""
        self.beats += 1
        answer = self.endpoint.heartbeat(HostReport("host1", "run1", reports, "digest", INVENTORY, self.beats))
        self.orders = answer.orders

    def act(self, _seconds: float = 0) -> None:
        """The next thing an agent would do; called instead of sleeping."""
        self.acts = self.acts or self._play()
        next(self.acts, None)

    def _play(self) -> Iterator[None]:
        self.beat()
        order = self.orders[0]
        attempt = self.endpoint.begin(order.capture_id, "host1", "run1")
        known: dict[str, Any] = {
            "way": Way("backup", "directory", ("reflink+clone: /images is on ext4",)),
            "instant": Instant(now(), Consistency.FILESYSTEM, frozen_ms=72.5),
        }
        freeze = Step("freeze", now(), now(), "2 filesystems")
        for share in (1, 2):
            copying: dict[str, Any] = {
                "steps": (freeze, Step("transfer", now())),
                "progress": Progress(share << 20, 3 << 20, 1e6),
            }
            self.beat(CaptureReport(order.capture_id, attempt, Phase.TRANSFERRING, **copying, **known))
            yield
        steps = (freeze, Step("transfer", now(), now(), bytes=len(DATA), failed=self.outcome == "failed"))
        if self.outcome == "failed":
            fault = NoSpace(what="image store", needed=5, free=1, operator="/images").fault
            self.beat(CaptureReport(order.capture_id, attempt, Phase.ENDED, steps, fault=fault, **known))
            return
        self.endpoint.commit(order.capture_id, attempt)
        results = tuple(self._published(request.id, request.name, dict(request.properties)) for request in order.images)
        self.beat(CaptureReport(order.capture_id, attempt, Phase.ENDED, steps, images=results, **known))

    def _published(self, identifier: str, name: str, properties: dict[str, str]) -> ImageResult:
        digest = hashlib.sha256(DATA).hexdigest()
        self.store.part(identifier).write_bytes(DATA)
        sizes: dict[str, Any] = {"disk_format": "raw", "size": len(DATA), "virtual_size": len(DATA), "sha256": digest}
        image = Image(identifier, name, "active", now(), now(), container_format="bare", properties=properties, **sizes)
        self.store.publish(image)
        return ImageResult(id=identifier, properties=properties, **sizes)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    file = tmp_path / "stillframe.conf"
    file.write_text(f"[DEFAULT]\nstate_dir = {tmp_path}\n")
    settings = config.load(files=[file])
    db = Database(settings.database.connection)
    db.upgrade()
    store = DirectoryStore(settings.images.directory)
    store.prepare()
    captures = Captures(db, InProcess())
    made = Agent(ControllerEndpoint(db, settings.controller), captures, store)
    made.beat()
    monkeypatch.setattr(waiting, "Pace", lambda: Pace(sleep=made.act))
    monkeypatch.setenv("STILLFRAME_SOCKET", str(settings.api.socket))
    monkeypatch.chdir(tmp_path)
    with serve(application(Deps(settings, Servers(db), captures, Hosts(db), store, lambda: (), int)), settings.api):
        yield made
    db.close()


Run = Callable[..., Any]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command that must exit with `code`; its JSON, or what it said on stderr."""

    def command(*argv: str, code: int = 0, said: bool = False) -> Any:
        exited = main([*argv, *([] if said else ["-f", "json"])])
        printed = capsys.readouterr()
        assert exited == code, printed.err
        return printed.err if said else json.loads(printed.out)

    return command


CREATE = ("server", "image", "create", "db (1)", "--name", "golden")


def test_from_the_list_of_servers_to_the_saved_file(agent: Agent, run: Run) -> None:
    assert {row["Name"] for row in run("server", "list")} == {"db (1)", "twin"}
    shown = run("server", "show", "db (1)")
    assert (shown["id"], shown["vm_state"], shown["root_disk"]) == (DB, "active", "vda")
    assert [disk["target"] for disk in shown["disks"]] == ["vda", "vdb"]
    capture = run(*CREATE, "--property", "color=blue", "--wait")
    assert capture["status"] == "completed"
    assert capture["frozen_ms"] == 72.5
    assert capture["images"][0]["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert [step["name"] for step in capture["steps"]] == ["freeze", "transfer"]
    assert run("capture", "show", capture["id"]) == capture
    assert [row["ID"] for row in run("capture", "list", "--server", DB, "--status", "completed")] == [capture["id"]]
    assert run("capture", "list", "--status", "failed") == []
    assert [row["Name"] for row in run("image", "list", "--server", "db (1)")] == ["golden"]
    image = run("image", "show", "golden")
    assert image["properties"]["color"] == "blue"
    assert "sha256" in run("image", "save", "golden", "--file", "golden.raw", said=True)
    assert Path("golden.raw").read_bytes() == DATA
    run("image", "delete", "golden", said=True)
    assert run("image", "list") == []


def test_wishes_arrive(agent: Agent, run: Run) -> None:
    wishes = ("--all-disks", "--disk-format", "qcow2", "--quiesce", "--trim", "--bandwidth", "1M")
    capture = run(*CREATE, *wishes)
    assert capture["wishes"] == {"format": "qcow2", "quiesce": True, "trim": True, "cold": False, "bandwidth": 1 << 20}
    assert [image["disk"] for image in capture["images"]] == ["vda", "vdb"]
    recorded = agent.captures.list(CaptureFilters())[0]
    assert recorded.wishes.require_quiesce


def test_an_unknown_disk_is_refused_with_those_there_are(agent: Agent, run: Run) -> None:
    assert "vda, vdb" in run(*CREATE, "--disk", "vdz", code=2, said=True)


def test_a_second_capture_is_refused_while_one_is_pending(agent: Agent, run: Run) -> None:
    run(*CREATE)
    said = run(*CREATE, code=4, said=True)
    assert "while it is in task_state image_snapshot_pending [wrong-state]" in said


def test_a_failure_is_told_with_the_operators_part(agent: Agent, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    agent.outcome = "failed"
    said = run(*CREATE, "--wait", code=1, said=True)
    for part in ("[no-space]", "5 bytes needed, 1 free", "Operator: /images", "Hint: Free some space", "FAILED"):
        assert part in said


def test_cancelling_twice_is_fine_and_cancelling_what_ended_is_not(agent: Agent, run: Run) -> None:
    capture = run(*CREATE)
    run("capture", "cancel", capture["id"], said=True)
    run("capture", "cancel", capture["id"], said=True)
    assert run("capture", "show", capture["id"])["status"] == "cancelled"
    done = run(*CREATE, "--wait")
    assert "[capture-ended]" in run("capture", "cancel", done["id"], code=4, said=True)


def test_a_name_of_two_servers(agent: Agent, run: Run) -> None:
    assert ", ".join(TWIN) in run("server", "show", "twin", code=2, said=True)


def test_what_is_not_there(agent: Agent, run: Run) -> None:
    run("server", "show", "nobody", code=3, said=True)
    run("capture", "show", DB, code=3, said=True)
    run("image", "show", DB, code=3, said=True)
    run("image", "save", "nothing", code=3, said=True)


def test_names_that_the_schema_refuses(agent: Agent, run: Run) -> None:
    assert "printable characters" in run("server", "image", "create", DB, "--name", " x", code=2, said=True)
    assert "stillframe_" in run(*CREATE, "--property", "stillframe_consistency=x", code=2, said=True)
