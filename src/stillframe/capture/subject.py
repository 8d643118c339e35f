"""What is to be captured: the order held against the instance as it is now."""

from __future__ import annotations

from dataclasses import dataclass, replace

from stillframe.capture.tools import Tools
from stillframe.disks import chain
from stillframe.disks.rbd import images
from stillframe.errors.capture import CannotFreeze, DiskEncrypted, NoSuchDisk
from stillframe.errors.request import WrongState
from stillframe.hypervisor import inventory
from stillframe.messaging.contract import Order
from stillframe.model import Disk, ImageRequest, Instance, PowerState, VmState, Wishes

CAPTURABLE = (VmState.ACTIVE, VmState.STOPPED, VmState.PAUSED, VmState.SUSPENDED)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One disk, inspected, and the image that it is to become."""

    disk: Disk
    image: ImageRequest
    disk_format: str  # of the image
    wished: bool = False  # somebody chose that format; else a way may have a better one


@dataclass(frozen=True, slots=True)
class Subject:
    """An instance, the disks of it that are wanted, and how they are to be captured."""

    capture_id: str
    instance: Instance
    wanted: tuple[Wanted, ...]
    require_quiesce: bool
    trim: bool
    cold: bool
    bandwidth: int  # bytes a second; 0: no limit
    request_id: str = ""
    volumes: bool = False  # not the disks' bytes are wanted, but snapshots that Cinder takes

    @property
    def running(self) -> bool:
        """True when the guest's processors run."""
        return self.instance.power_state == PowerState.RUNNING

    @property
    def live(self) -> bool:
        """True when QEMU has the disks open: running or paused."""
        return self.instance.power_state in (PowerState.RUNNING, PowerState.PAUSED)

    @property
    def others(self) -> tuple[str, ...]:
        """Targets of the disks that are not wanted."""
        targets = {wanted.disk.target for wanted in self.wanted}
        return tuple(disk.target for disk in self.instance.disks if disk.target not in targets)


def look_at(order: Order, tools: Tools) -> Subject:
    """The subject of an order; raises what stands against it whatever the way: state, disks, encryption, quiesce."""
    instance = inventory.instance(tools.hypervisor, order.instance_id)
    if instance.vm_state not in CAPTURABLE:
        raise WrongState(
            action="createImage", instance=instance.id, attribute="vm_state", value=instance.vm_state.value
        )
    _check_quiesce(order.wishes, instance)
    wishes, options = order.wishes, tools.options
    return Subject(
        capture_id=order.capture_id,
        instance=instance,
        wanted=tuple(_wanted(instance, image, wishes, tools) for image in order.images),
        require_quiesce=wishes.require_quiesce,
        trim=wishes.trim or options.trim,
        cold=wishes.cold or options.cold,
        bandwidth=min(filter(None, (wishes.bandwidth, options.bandwidth)), default=0),
        request_id=order.request_id,
        volumes=wishes.volumes,
    )


def _check_quiesce(wishes: Wishes, instance: Instance) -> None:
    """Stopped is quiet enough, running can be frozen; between them nothing can be promised."""
    if wishes.require_quiesce and instance.vm_state in (VmState.PAUSED, VmState.SUSPENDED):
        raise CannotFreeze(instance=instance.id, reason=f"it is {instance.vm_state.value}")


def _wanted(instance: Instance, image: ImageRequest, wishes: Wishes, tools: Tools) -> Wanted:
    target = image.target or instance.root
    named = instance.disk(target) if target else None
    if named is None:
        known = ", ".join(disk.target for disk in instance.disks) or "none"
        raise NoSuchDisk(instance=instance.id, disk=target or "that counts as its root disk", disks=known)
    disk = _sized(chain.inspected(_reached(named, image)), tools)
    if disk.encryption and not wishes.volumes and not tools.options.allow_decrypted:
        raise DiskEncrypted(disk=disk.target, by=disk.encryption)
    wished = wishes.disk_format or tools.options.snapshot_image_format
    return Wanted(disk, image, wished or image_format(disk), wished=wished is not None)


def _reached(disk: Disk, image: ImageRequest) -> Disk:
    """A definition that names no monitors leaves them to a ceph.conf of QEMU's; Cinder knows them too."""
    named, known = disk.top.rbd, image.place
    if named is None or known is None or named.monitors or named.conf:
        return disk
    place = replace(known, pool=named.pool, image=named.image)
    return replace(disk, chain=(replace(disk.top, rbd=place), *disk.chain[1:]))


def _sized(disk: Disk, tools: Tools) -> Disk:
    """A disk on RBD whose domain is off has its size from its cluster."""
    if disk.size or disk.top.rbd is None or disk.top.format != "raw":
        return disk
    found = tools.ceph.at(disk.top.rbd)
    return replace(disk, size=images.size(found.cluster, found.image))


def image_format(disk: Disk) -> str:
    """The image's format where nobody chose one: the disk's own; raw for whatever Glance knows no streaming of."""
    return disk.top.format if disk.top.format in ("raw", "qcow2") else "raw"
