"""Captures of servers that boot from a volume: what Cinder is asked for with the token of whoever asks for the capture.

The token stays here, so the request lasts until Cinder has the snapshots; see docs/decisions/volumes.md.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from stillframe.api.call import Call
from stillframe.api.deps import VolumeTools
from stillframe.cloudoptions import Cinder as Options
from stillframe.controller.captures import Captures
from stillframe.errors.base import StillframeError, fault_of
from stillframe.errors.capture import DeadlineExceeded
from stillframe.errors.cinder import CinderFailed, CinderUnreachable, SnapshotFailed, SnapshotsLate
from stillframe.errors.glance import TokenNeeded
from stillframe.model import Capture, Disk, Instance, RbdPlace
from stillframe.volumes.cinder import Cinder, Record

T = TypeVar("T")
ASK = 0.05  # seconds between two looks at what the host or Cinder does
METADATA = "volume_image_metadata"  # of a volume: of the image that it was made from
NOT_PROPERTIES = ("image_id", "image_name", "stores")
# After these, what was asked for may still come about: nobody says that nothing more comes.
DOUBTFUL = (CinderUnreachable.code, CinderFailed.code)


class Volumes:
    """What the API has to do with Cinder."""

    def __init__(self, tools: VolumeTools, options: Options, captures: Captures) -> None:
        self._tools = tools
        self._options = options
        self._captures = captures

    def wanted(self, instance: Instance) -> bool:
        """Whether createImage of this instance is to be snapshots of its volumes."""
        return self._options.enable_snapshot_volume_backed and instance.root_volume is not None

    def shown(self, call: Call, instance: Instance) -> tuple[Record, str]:
        """The root volume, and why there is none: of an instance that does not boot from one, or that cannot be had."""
        if instance.root_volume is None or call.caller.auth is None:
            return {}, ""
        try:
            return self._cinder(call).volume(instance.root_volume), ""
        except StillframeError as error:
            return {}, f"nothing is known of its root volume: {error.fault.message}"

    def place(self, call: Call, instance: Instance) -> tuple[RbdPlace | None, str]:
        """Where the root volume is, for a definition that names no monitors; and why that cannot be told."""
        disk = instance.disk(instance.root) if instance.root_volume and instance.root else None
        rbd = disk.top.rbd if disk else None
        if rbd is None or rbd.monitors or rbd.conf or call.caller.auth is None or instance.root_volume is None:
            return None, ""
        try:
            return self._cinder(call).place(instance.root_volume, instance.id), ""
        except StillframeError as error:
            return None, f"where its root volume is cannot be told: {error.fault.message}"

    def all(self, call: Call, instance: Instance) -> dict[str, Record]:
        """All volumes of an instance, before anything is done to it; raises what Cinder says against it."""
        cinder = self._cinder(call)
        return {volume: cinder.volume(volume) for volume in instance.volumes}

    def take(self, call: Call, capture: Capture, instance: Instance, volumes: Mapping[str, Record]) -> None:
        """Has the snapshots taken while the host holds the guest still. What stands against it ends the capture."""
        sets, doubtful = self._tools.sets, False
        try:
            attempt = self._until(lambda: sets.standing(capture.id), "Waiting for the server's host")
            taken = self._taken(self._cinder(call), capture, attempt, volumes)
            sets.taken(capture.id, attempt, _properties(instance, taken, volumes))
            self._until(lambda: sets.held(capture.id), "Waiting for the server's host")
        except Exception as error:
            doubtful = fault_of(error).code in DOUBTFUL
            self._captures.stop(capture.id, fault_of(error))
            raise
        finally:
            if not doubtful:
                sets.close(capture.id)

    def _taken(self, cinder: Cinder, capture: Capture, attempt: str, volumes: Mapping[str, Record]) -> dict[str, str]:
        """The ids of the volumes' snapshots: all are asked for before the first is waited for."""
        name = f"snapshot for {capture.name}"
        taken = {
            volume: cinder.snapshot(volume, name, shown.get("description"), capture.id)
            for volume, shown in volumes.items()
        }
        missing = dict(taken)

        def all_there() -> bool:
            if self._tools.sets.standing(capture.id) != attempt:
                raise SnapshotsLate
            for volume, snapshot in taken.items():
                if volume in missing and _there(cinder, volume, snapshot):
                    del missing[volume]
            return not missing

        self._until(all_there, "Taking the snapshots")
        return taken

    def _until(self, look: Callable[[], T | None], what: str) -> T:
        """The first answer that is one; raises DeadlineExceeded."""
        deadline = time.monotonic() + self._options.patience
        while not (found := look()):
            if time.monotonic() >= deadline:
                raise DeadlineExceeded(what=what, seconds=self._options.patience)
            time.sleep(ASK)
        return found

    def _cinder(self, call: Call) -> Cinder:
        if call.caller.auth is None:
            raise TokenNeeded
        return self._tools.cinder.as_user(call.caller.auth, call.request_id)


def _there(cinder: Cinder, volume: str, snapshot: str) -> bool:
    """Whether this snapshot is taken; raises SnapshotFailed."""
    state = cinder.snapshot_status(snapshot)
    if state not in ("creating", "available"):
        raise SnapshotFailed(snapshot=snapshot, volume=volume, state=state)
    return state == "available"


def inherited(volume: Record) -> dict[str, str]:
    """The properties of the image that a volume was made from, as Cinder kept them."""
    kept: dict[str, Any] = volume.get(METADATA) or {}
    return {name: str(value) for name, value in kept.items() if name not in NOT_PROPERTIES}


def _properties(instance: Instance, taken: Mapping[str, str], volumes: Mapping[str, Record]) -> dict[str, str]:
    """What Nova writes into such an image; its boot makes new volumes of the snapshots by that."""
    mapping = [
        _mapping(instance, instance.volumes[volume], snapshot, int(volumes[volume]["size"]))
        for volume, snapshot in taken.items()
    ]
    return {
        "block_device_mapping": json.dumps(mapping),
        "bdm_v2": "True",
        "root_device_name": f"/dev/{instance.root}",
    }


def _mapping(instance: Instance, disk: Disk, snapshot: str, gib: int) -> dict[str, Any]:
    """One block device, with every field that Nova knows."""
    return {
        "source_type": "snapshot",
        "destination_type": "volume",
        "guest_format": None,
        "device_type": "disk",
        "disk_bus": disk.bus,
        "boot_index": 0 if disk.target == instance.root else None,
        "device_name": f"/dev/{disk.target}",
        "delete_on_termination": False,
        "snapshot_id": snapshot,
        "volume_id": None,
        "volume_size": gib,
        "image_id": None,
        "no_device": None,
        "tag": None,
        "volume_type": None,
        "encrypted": None,
        "encryption_secret_uuid": None,
        "encryption_format": None,
        "encryption_options": None,
    }
