"""What no capture owns: found by looking at the host itself, and given back as any lease is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stillframe.agent.journal import Journal
from stillframe.capture.guarding import Arm, ArmKind
from stillframe.capture.leases import (
    BackupJob,
    Export,
    FrozenGuest,
    HalfImage,
    Lease,
    OwnFile,
    SocketDirectory,
    SuspendedGuest,
    decode,
)
from stillframe.capture.tools import Tools
from stillframe.capture.work import SOCKET
from stillframe.disks import export
from stillframe.hypervisor import backup, inventory
from stillframe.images.directory import DirectoryStore
from stillframe.model import PowerState


@dataclass(frozen=True, slots=True)
class Stray:
    """Something of ours that nobody will give back, and how that is known."""

    lease: Lease
    why: str
    beside_images: bool = False  # where the image directory is shared, another host may be making it just now


def strays(tools: Tools, journal: Journal) -> tuple[Stray, ...]:
    """All that is there and in no journal, also while captures run; raises StillframeError when it cannot be told.

    What a capture is just taking is in the journal before it is there, and what it is giving back is gone when looked
    at again.
    """
    seen = tuple(_seen(tools))
    if not seen:
        return ()
    owned = {str(decode(kind, reference)) for kind, reference in journal.owned()}
    still = {str(stray.lease) for stray in _seen(tools)}
    return tuple(stray for stray in seen if str(stray.lease) in still - owned)


def _seen(tools: Tools) -> Iterator[Stray]:
    """All that looks like ours, owned or not; what holds a guest first."""
    yield from _guarded(tools.guard.armed())
    yield from _backups(tools)
    if isinstance(tools.store, DirectoryStore):
        yield from _beside_images(tools.store)
    for path in (*tools.options.scratch_dir.glob("*.scratch"), *tools.options.scratch_dir.glob(".*.held")):
        yield Stray(OwnFile(str(path)), "it is in the scratch directory and has the name of a capture's file")
    for path in tools.run_dir.iterdir():
        if export.running(path / SOCKET):
            yield Stray(Export(str(path / SOCKET)), "a process serves a disk there")
        yield Stray(SocketDirectory(str(path)), "it is a directory for a socket of ours")


def _beside_images(store: DirectoryStore) -> Iterator[Stray]:
    for half in store.halves():
        if not half.name.endswith(".json"):  # a published image that is damaged is its owner's
            yield Stray(HalfImage(half.image_id), f"{half.name} is there: {half.reason}", beside_images=True)
    for path in store.path.glob(".*.held"):
        yield Stray(OwnFile(str(path)), "it is the copy of a disk, beside the images", beside_images=True)


def _guarded(arms: tuple[Arm, ...]) -> Iterator[Stray]:
    """Guests that were frozen or suspended, as far as the guard knows it: the host alone cannot tell by whom."""
    for arm in arms:
        why = "the guard still watches for it"
        if arm.kind is ArmKind.THAW:
            yield Stray(FrozenGuest(arm.instance_id, arm.run, arm.key), why)
        elif arm.kind is ArmKind.RESUME:
            yield Stray(SuspendedGuest(arm.instance_id, arm.run, arm.key), why)


def _backups(tools: Tools) -> Iterator[Stray]:
    """Backup jobs that are served in our directory of sockets."""
    for instance in inventory.inventory(tools.hypervisor):
        if instance.power_state not in (PowerState.RUNNING, PowerState.PAUSED) or instance.run is None:
            continue
        socket = backup.backup_socket(tools.hypervisor, instance.id)
        if socket is not None and socket.is_relative_to(tools.run_dir):
            running = instance.power_state is PowerState.RUNNING
            lease = BackupJob(instance.id, instance.run, str(socket), f"doctor:{socket}", found_running=running)
            yield Stray(lease, f"it is served on {socket}, a socket of ours")
