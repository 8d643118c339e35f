"""The API over a real database and a real image directory; only the agent is played, by `House.report` and friends."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from falcon.testing import Result, TestClient

from stillframe.api.deps import Check, Deps
from stillframe.controller.database import Database
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.images.directory import DirectoryStore
from stillframe.messaging.contract import CaptureReport, HostReport
from stillframe.model import (
    Consistency,
    Disk,
    Fault,
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
)

PASSWORD = "a secret"
USERS = {  # name: project, roles
    "admin": ("default", "admin"),
    "alice": ("red", "member"),
    "rita": ("red", "reader"),
    "rob": ("red", "noone"),
    "bob": ("blue", "member"),
    "bess": ("blue", "reader"),
    "mona": ("default", "monitoring"),
}
ONE = "11111111-1111-4111-8111-111111111111"
TWO = "22222222-2222-4222-8222-222222222222"
BLUE = "33333333-3333-4333-8333-333333333333"
LOOSE = "44444444-4444-4444-8444-444444444444"
BASE_IMAGE = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
GIB = 1 << 30


def instance(id_: str, name: str, project: str | None, **changes: Any) -> Instance:
    """A running guest with a root disk and a data disk."""
    disks = (
        Disk("vda", (Layer(f"/secret/path/{name}.qcow2", "qcow2"),), size=GIB + 1),
        Disk("vdb", (Layer(f"/secret/path/{name}-data.raw", "raw"),), size=2 * GIB),
    )
    whole = Instance(
        id=id_,
        name=name,
        domain=f"instance-{name}",
        vm_state=VmState.ACTIVE,
        power_state=PowerState.RUNNING,
        disks=disks,
        root="vda",
        run="boot:1",
        vcpus=2,
        memory_mib=128,
        project_id=project,
        user_id=f"{project}-user" if project else None,
    )
    return replace(whole, **changes)


INSTANCES = (
    instance(ONE, "web1", "red", base_image_id=BASE_IMAGE, flavor="m1.tiny"),
    instance(TWO, "web2", "red", vm_state=VmState.STOPPED, power_state=PowerState.SHUTDOWN, run=None),
    instance(BLUE, "blue", "blue"),
    instance(LOOSE, "loose", None),
)


@dataclass
class House:
    """The service without its agent."""

    deps: Deps
    db: Database
    endpoint: ControllerEndpoint
    store: DirectoryStore
    checks: list[Check]
    client: TestClient
    _beats: int = field(default=0)

    def ask(self, who: str | None, method: str, url: str, **more: Any) -> Result:
        """A request of one of USERS; None: not signed in. `version`: the microversion."""
        headers = dict(more.pop("headers", {}))
        if who is not None:
            token = base64.b64encode(f"{who}:{more.pop('password', PASSWORD)}".encode()).decode()
            headers["Authorization"] = f"Basic {token}"
        if (version := more.pop("version", None)) is not None:
            headers["OpenStack-API-Version"] = f"compute {version}"
        return self.client.simulate_request(method, url, headers=headers, **more)

    def get(self, who: str | None, url: str, **more: Any) -> Result:
        return self.ask(who, "GET", url, **more)

    def post(self, who: str | None, url: str, body: Any, **more: Any) -> Result:
        headers = {"Content-Type": "application/json"}
        return self.ask(who, "POST", url, body=json.dumps(body).encode(), headers=headers, **more)

    def create_image(self, who: str = "alice", server: str = ONE, **more: Any) -> str:
        """createImage of a server; the id."""
        inner = {"name": more.pop("name", "golden")} | (
            {"metadata": more.pop("metadata")} if "metadata" in more else {}
        )
        answer = self.post(who, f"/v2.1/servers/{server}/action", {"createImage": inner}, version="2.45")
        assert answer.status_code == 202, answer.text
        return str(answer.json["image_id"])

    def report(self, *instances: Instance, host: str = "host1", captures: tuple[CaptureReport, ...] = ()) -> Any:
        """A heartbeat with this inventory."""
        self._beats += 1
        report = HostReport(host, "run1", captures, f"digest{self._beats}", instances or INSTANCES, self._beats)
        return self.endpoint.heartbeat(report)

    def begin(self, capture_id: str) -> str:
        """The agent begins; the attempt's token."""
        return self.endpoint.begin(capture_id, "host1", "run1")

    def tell(self, capture_id: str, attempt: str, phase: Phase, **more: Any) -> None:
        """The agent reports on the capture."""
        self.report(captures=(CaptureReport(capture_id, attempt, phase, **more),))

    def complete(self, capture_id: str, data: bytes = b"an image") -> None:
        """The whole of a capture: begun, held, committed, published, ended."""
        attempt = self.begin(capture_id)
        capture = self.deps.captures.get(capture_id, None)
        steps = (Step("freeze", MOMENT, MOMENT, "by the guest agent"), Step("copy", MOMENT, MOMENT, bytes=len(data)))
        known: dict[str, Any] = {
            "steps": steps,
            "way": Way("backup", "directory", ("reflink+clone: no",)),
            "instant": Instant(MOMENT, Consistency.FILESYSTEM, frozen_ms=41.5),
            "progress": Progress(len(data), len(data), 100.0),
        }
        self.tell(capture_id, attempt, Phase.TRANSFERRING, **known)
        self.endpoint.commit(capture_id, attempt)
        for request in capture.images:
            self.publish(
                request.id, request.name, data, owner=request.properties.get("owner_id"), properties=request.properties
            )
        results = tuple(ImageResult(each.id, "raw", len(data), GIB, "00" * 32) for each in capture.images)
        self.tell(capture_id, attempt, Phase.ENDED, images=results, **known)

    def fail(self, capture_id: str, fault: Fault) -> None:
        """A capture that fails before its instant."""
        steps = (Step("plan", MOMENT, MOMENT, fault.message, failed=True, operator=fault.operator),)
        self.tell(capture_id, self.begin(capture_id), Phase.ENDED, fault=fault, steps=steps)

    def publish(self, image_id: str, name: str, data: bytes = b"an image", **more: Any) -> Image:
        """An image in the store."""
        self.store.part(image_id).write_bytes(data)
        fields: dict[str, Any] = {"owner": None, "properties": {}} | more
        image = Image(
            id=image_id,
            name=name,
            status="active",
            created_at=MOMENT,
            updated_at=MOMENT,
            disk_format="raw",
            container_format="bare",
            size=len(data),
            virtual_size=GIB,
            sha256="00" * 32,
            **fields,
        )
        self.store.publish(image)
        return image


MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
