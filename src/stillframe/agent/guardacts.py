"""What the guard does: gives a guest back, having proved first that it is the one that was armed.

Each act may be tried any number of times; it returns once there is nothing left to give back.
"""

from __future__ import annotations

import os
from pathlib import Path

from stillframe.capture.guarding import Arm, ArmKind
from stillframe.hypervisor import backup, guestagent, power, runs
from stillframe.hypervisor.connection import Connection

_AGENT_SECONDS = 5.0  # for each answer of a guest agent
_ABORT_SECONDS = 90.0  # a guest that rebooted makes libvirt as slow as that


def give_back(connection: Connection, arm: Arm, *, was_paused: bool) -> None:
    """Gives back what is armed, if it is still there.

    was_paused: the guest was paused by an I/O error before, so that is not ours to mend.
    Raises a StillframeError when it has to be tried again; InstanceGone when there is nothing left to try.
    """
    if runs.ended(arm.run) or power.run(connection, arm.instance_id) != arm.run:
        return
    match arm.kind:
        case ArmKind.THAW:
            _thaw(connection, arm)
        case ArmKind.RESUME:
            power.resume(connection, arm.instance_id, arm.run)
        case ArmKind.ABORT:
            backup.abort(connection, arm.instance_id, Path(arm.socket or ""), _ABORT_SECONDS)
            if not was_paused:
                power.resume_after_io_error(connection, arm.instance_id, arm.run)


def _thaw(connection: Connection, arm: Arm) -> None:
    while guestagent.frozen(connection, arm.instance_id, _AGENT_SECONDS):
        guestagent.thaw(connection, arm.instance_id, _AGENT_SECONDS)


def paused_by_io_error(connection: Connection, arm: Arm) -> bool:
    """Whether libvirt keeps the guest paused because a write failed; raises StillframeError when it cannot be told."""
    return power.state(connection, arm.instance_id)[1] == power.IO_ERROR


def shortage(arm: Arm) -> str | None:
    """Why the scratch space of the arm may be used no further, in words; None while it may."""
    if not arm.scratch:
        return None
    used = sum(_used(file) for file in arm.scratch)
    if arm.cap and used >= arm.cap:
        return f"{used} bytes of scratch are used, {arm.cap} allowed"
    for directory in sorted({Path(file).parent for file in arm.scratch}):
        free = _free(directory)
        if free < arm.reserve:
            return f"{free} bytes are free in {directory}, {arm.reserve} are to stay free"
    return None


def _used(file: str) -> int:
    try:
        status = Path(file).stat()
    except FileNotFoundError:
        return 0  # the backup has ended, or has not begun
    return min(status.st_size, status.st_blocks * 512)  # blocks beyond the end are only reserved


def _free(directory: Path) -> int:
    try:
        system = os.statvfs(directory)
    except FileNotFoundError:
        return 1 << 62  # nothing is kept there any more
    return system.f_bavail * system.f_frsize
