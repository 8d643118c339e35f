"""Asking for a capture: createImage and createBackup as Nova has them, and POST /captures, which can do more."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from stillframe.api import properties
from stillframe.api.call import LEGACY, Answer, Call
from stillframe.api.deps import Deps
from stillframe.api.imaging import Base, Imaging
from stillframe.api.policy import Policy
from stillframe.api.schemas import CREATE_BACKUP, CREATE_CAPTURE, CREATE_IMAGE, Body
from stillframe.api.views import captures as views
from stillframe.api.volumes import Volumes
from stillframe.controller.captures import CaptureRequest, expect_free
from stillframe.errors.base import fault_of
from stillframe.errors.capture import NoSuchDisk
from stillframe.errors.request import BadRequest
from stillframe.model import Capture, Disk, ImageRequest, Instance, Wishes

CREATE_IMAGE_BODY = Body(CREATE_IMAGE)
CREATE_BACKUP_BODY = Body(CREATE_BACKUP)
CREATE_CAPTURE_BODY = Body(CREATE_CAPTURE)
IMAGE_ID_SINCE = (2, 45)  # in the body, and no Location any more
NO_QUOTA_SINCE = (2, 39)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A capture as the body asks for it."""

    action: str
    server_id: str
    name: str
    metadata: Mapping[str, str]
    disks: str | tuple[str, ...] = "root"  # root, all, or targets
    wishes: Wishes = field(default_factory=Wishes)
    kind: str = "snapshot"
    backup_type: str | None = None
    rotation: int | None = None
    by_volumes: bool = False  # snapshots of Cinder's will do, where the options want them


class Capturing:
    """POST /servers/{server_id}/action and POST /captures"""

    def __init__(self, deps: Deps, policy: Policy, imaging: Imaging, volumes: Volumes | None) -> None:
        self._servers = deps.servers
        self._captures = deps.captures
        self._imaging = imaging
        self._coordination = deps.coordination
        self._volumes = volumes
        self._policy = policy
        self._not_inherited = deps.settings.capture.non_inheritable_image_properties
        self._most_metadata = deps.settings.api.metadata_items
        self._actions = {"createImage": self._create_image, "createBackup": self._create_backup}

    def action(self, call: Call, server_id: str) -> Answer:
        """The action is the body's one key."""
        body = call.body()
        if not isinstance(body, dict) or len(body) != 1:
            raise BadRequest(reason="Malformed request body")
        name = next(iter(body))
        if name not in self._actions:
            raise BadRequest(reason=f"There is no such action: {name[:100]}")
        return self._actions[name](call, server_id, body)

    def create(self, call: Call) -> Answer:
        """POST /captures: several disks, and wishes."""
        self._policy.require(call.caller, "stillframe:captures:create")
        body = call.body()
        CREATE_CAPTURE_BODY.check(body)
        wanted = _wanted(body["capture"])
        capture = self._accepted(call, wanted)
        operator = self._policy.allows(call.caller, "stillframe:faults:operator")
        return Answer({"capture": views.full(call, capture, operator=operator)}, status=202)

    def _create_image(self, call: Call, server_id: str, body: Any) -> Answer:
        self._policy.require(call.caller, "os_compute_api:servers:create_image")
        CREATE_IMAGE_BODY.check(body, strangers=call.version == LEGACY)
        asked = body["createImage"]
        metadata = asked.get("metadata", {})
        self._check_quota(call, metadata)
        wanted = Wanted("createImage", server_id, asked["name"], metadata, by_volumes=True)
        return self._answer(call, self._accepted(call, wanted))

    def _create_backup(self, call: Call, server_id: str, body: Any) -> Answer:
        self._policy.require(call.caller, "os_compute_api:os-create-backup")
        CREATE_BACKUP_BODY.check(body, strangers=call.version == LEGACY)
        asked = body["createBackup"]
        metadata = asked.get("metadata", {})
        self._check_quota(call, metadata)
        wanted = Wanted(
            "createBackup",
            server_id,
            asked["name"],
            metadata | {"backup_type": asked["backup_type"]},
            kind="backup",
            backup_type=asked["backup_type"],
            rotation=int(asked["rotation"]),
        )
        return self._answer(call, self._accepted(call, wanted))

    def _check_quota(self, call: Call, metadata: Mapping[str, str]) -> None:
        if call.version < NO_QUOTA_SINCE:
            properties.check_quota(metadata, self._most_metadata)

    def _accepted(self, call: Call, wanted: Wanted) -> Capture:
        """The capture, recorded; its images have their ids from here, and their records where they have some now."""
        properties.check_metadata(wanted.metadata)
        scope = self._policy.scope(call.caller)
        server = self._servers.get(wanted.server_id, scope)
        expect_free(server, wanted.action)  # so that the image store hears nothing of what is refused
        instance = server.instance
        lock, unlocked = self._expect_free_in_nova(instance, wanted.action)
        volumes = self._volumes_of(call, wanted, instance)
        base = self._imaging.base(call, instance)
        note = "; ".join(part for part in (unlocked, base.note) if part)
        base = replace(base, properties=properties.inherited(base.properties, self._not_inherited), note=note)
        images = _images(call, wanted, instance, base)
        quiesce = wanted.wishes.require_quiesce or properties.requires_quiesce(images[0].properties)
        wishes = replace(wanted.wishes, require_quiesce=quiesce, volumes=bool(volumes))
        capture = self._captures.accept(
            CaptureRequest(
                instance_id=instance.id,
                project=scope,
                user_id=call.caller.user_id,
                request_id=call.request_id,
                action=wanted.action,
                name=wanted.name,
                images=images,
                wishes=wishes,
                kind=wanted.kind,
                backup_type=wanted.backup_type,
                rotation=wanted.rotation,
                reserve=self._imaging.reserves,
                lock=lock,
            )
        )
        if lock or self._imaging.reserves:
            capture = self._reserved(call, capture, lock=lock)
        if volumes and self._volumes:
            self._volumes.take(call, capture, instance, volumes)
        return capture

    def _volumes_of(self, call: Call, wanted: Wanted, instance: Instance) -> Mapping[str, Any]:
        """The volumes that snapshots are to be taken of; none where the image is to have data, as everywhere else."""
        if wanted.kind == "backup" and instance.root_volume:
            raise BadRequest(reason="Backup is not supported for volume-backed instances.")
        if not wanted.by_volumes or self._volumes is None or not self._volumes.wanted(instance):
            return {}
        self._policy.require(call.caller, "os_compute_api:servers:create_image:allow_volume_backed")
        return self._volumes.all(call, instance)

    def _expect_free_in_nova(self, instance: Instance, action: str) -> tuple[bool, str]:
        """See Coordination."""
        return self._coordination.expect_free(instance.id, action) if self._coordination is not None else (False, "")

    def _reserved(self, call: Call, capture: Capture, *, lock: bool) -> Capture:
        """Makes what it needs outside, then lets its host begin. What cannot be made ends the capture."""
        try:
            if lock and self._coordination is not None:
                self._coordination.lock(capture)
            self._imaging.reserve(call, capture)
        except Exception as error:
            self._captures.fail(capture.id, fault_of(error))
            raise
        return self._captures.reserved(capture.id)

    def _answer(self, call: Call, capture: Capture) -> Answer:
        if call.version >= IMAGE_ID_SINCE:
            return Answer({"image_id": capture.id}, status=202)
        if capture.kind == "backup" and not capture.rotation:
            return Answer(status=202)
        return Answer(status=202, headers={"Location": self._imaging.url(call, capture.id)})


def _wanted(asked: Mapping[str, Any]) -> Wanted:
    disks = asked.get("disks", "root")
    return Wanted(
        action="createImage",
        server_id=asked["server_id"].lower(),
        name=asked["name"],
        metadata=asked.get("metadata", {}),
        disks=disks if isinstance(disks, str) else tuple(disks),
        wishes=Wishes(
            disk_format=asked.get("format"),
            require_quiesce=asked.get("quiesce", False),
            trim=asked.get("trim", False),
            cold=asked.get("cold", False),
            bandwidth=int(asked.get("bandwidth", 0)),  # JSON Schema counts 1.0 as an integer
        ),
    )


def _images(call: Call, wanted: Wanted, instance: Instance, base: Base) -> tuple[ImageRequest, ...]:
    """One image a disk, the root disk's first; further ones carry their target in their name."""
    owner = call.caller.project_id if instance.project_id is not None else None
    images: list[ImageRequest] = []
    for target, disk in _disks(wanted.disks, instance):
        of_root = target in (None, instance.root)
        held = properties.of_image(
            instance,
            disk,
            user_id=call.caller.user_id,
            owner=owner,
            kind=wanted.kind,
            metadata=wanted.metadata,
            base=base.properties if of_root else {},
        )
        name = wanted.name if not images else f"{wanted.name[: 254 - len(target or '')]}-{target}"
        made = ImageRequest(id=str(uuid.uuid4()), name=name, target=target, properties=held, stores=base.stores)
        images.append(replace(made, note=base.note, place=base.place) if of_root else made)
    return tuple(images)


def _disks(wanted: str | tuple[str, ...], instance: Instance) -> list[tuple[str | None, Disk | None]]:
    """Targets and disks; target None is the root disk, whichever it is when the capture begins."""
    if wanted == "root":
        return [(None, instance.disk(instance.root) if instance.root else None)]
    known = {disk.target: disk for disk in instance.disks if not disk.read_only or disk.target in wanted}
    targets = list(known) if wanted == "all" else list(wanted)
    missing = next((target for target in targets if target not in known), None)
    if missing is not None or not targets:
        raise NoSuchDisk(instance=instance.id, disk=missing or "at all", disks=", ".join(known) or "none")
    targets.sort(key=lambda target: target != instance.root)
    return [(target, known[target]) for target in targets]
