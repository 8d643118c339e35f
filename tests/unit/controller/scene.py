"""What the controller's tests put on the stage."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from stillframe.config import Controller
from stillframe.controller import schema
from stillframe.controller.captures import CaptureRequest
from stillframe.controller.endpoint import ControllerEndpoint
from stillframe.messaging.contract import CaptureReport, HostReport, Orders
from stillframe.model import Disk, Fault, ImageRequest, ImageResult, Instance, Layer, Phase, PowerState, VmState

OPTIONS = Controller(
    host_timeout=60,
    gone_grace=60,
    keep_finished=90,
    lost_host="fail",
    max_captures_per_host=32,
    max_captures_per_project=0,
)


@dataclass
class Bells:
    """AgentApi that remembers who was rung."""

    rung: list[str] = field(default_factory=list)

    def wake(self, host: str) -> None:
        self.rung.append(host)


def empty(connection: Connection) -> None:
    """Forgets everything."""
    for table in reversed(schema.metadata.sorted_tables):
        connection.execute(table.delete())


def new_id() -> str:
    return str(uuid.uuid4())


def instance(name: str = "web", **changes: Any) -> Instance:
    values: dict[str, Any] = {
        "id": new_id(),
        "name": name,
        "domain": name,
        "vm_state": VmState.ACTIVE,
        "power_state": PowerState.RUNNING,
        "disks": (Disk("vda", (Layer(f"/disks/{name}", "qcow2"),)),),
        "root": "vda",
        "run": "boot:1",
        "project_id": "blue",
    }
    return Instance(**values | changes)


def inventory(*instances: Instance, host: str = "one", run: str = "run-1", sequence: int = 0) -> HostReport:
    """A heartbeat that brings a whole inventory; its digest is never one that was sent before."""
    return HostReport(host, run, inventory_digest=new_id(), inventory=instances, sequence=sequence)


def request(of: Instance, **changes: Any) -> CaptureRequest:
    values: dict[str, Any] = {
        "instance_id": of.id,
        "project": "blue",
        "user_id": "ann",
        "request_id": f"req-{new_id()}",
        "action": "createImage",
        "name": "golden",
        "images": (ImageRequest(new_id(), "golden", properties={"image_type": "snapshot"}),),
    }
    return CaptureRequest(**values | changes)


def told(
    endpoint: ControllerEndpoint, *reports: CaptureReport, host: str = "one", run: str = "run-1", sequence: int = 0
) -> Orders:
    """A heartbeat about captures only."""
    return endpoint.heartbeat(HostReport(host, run, captures=reports, sequence=sequence))


def report(capture_id: str, attempt: str, phase: Phase, **values: Any) -> CaptureReport:
    return CaptureReport(capture_id, attempt, phase, **values)


def ended(capture_id: str, attempt: str, fault: Fault | None = None) -> CaptureReport:
    """The last report of an attempt: with an image, or with a fault."""
    images = () if fault else (ImageResult(capture_id, "qcow2", 10, 20),)
    return CaptureReport(capture_id, attempt, Phase.ENDED, images=images, fault=fault)
