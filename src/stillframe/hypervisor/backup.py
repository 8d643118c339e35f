"""libvirt's pull-mode backup: a running domain's disks at one instant, served over NBD on a Unix socket."""

from __future__ import annotations

import math
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt

from stillframe import background
from stillframe.errors.capture import DeadlineExceeded, ForeignJob, InstanceGone
from stillframe.hypervisor import jobevents
from stillframe.hypervisor.connection import Connection
from stillframe.hypervisor.domainxml import definition
from stillframe.hypervisor.translation import running_failure, translated_running

_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.5

_JOBS = {
    libvirt.VIR_DOMAIN_JOB_OPERATION_START: "start",
    libvirt.VIR_DOMAIN_JOB_OPERATION_SAVE: "save",
    libvirt.VIR_DOMAIN_JOB_OPERATION_RESTORE: "restore",
    libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN: "incoming migration",
    libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT: "outgoing migration",
    libvirt.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT: "snapshot",
    libvirt.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT_REVERT: "revert to a snapshot",
    libvirt.VIR_DOMAIN_JOB_OPERATION_DUMP: "memory dump",
    libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP: "backup",
    libvirt.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT_DELETE: "deletion of a snapshot",
}
_BLOCK_JOBS = {
    libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_PULL: "block pull",
    libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_COPY: "block copy",
    libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_COMMIT: "block commit",
    libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT: "active block commit",
    libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_BACKUP: "block backup",
}


@dataclass(frozen=True, slots=True)
class BackupDisk:
    """One disk to be held: where its bytes are served, and where what the guest overwrites is kept."""

    target: str
    export: str  # name of the NBD export
    scratch: Path  # an empty qcow2 of the disk's size, made beforehand


class Backup:
    """One that can begin at once: while it does, the guest may be frozen."""

    def __init__(self, domain: Any, xml: str) -> None:
        self._domain = domain  # libvirt's own object
        self._xml = xml
        self._asked = math.inf  # time.time() when libvirt was asked to begin
        self._fixed = threading.Event()
        self._answer: Future[None] | None = None  # libvirt's

    def begin(self) -> None:
        """Fixes the instant of the disks, and returns as soon as QEMU says that it is. The domain runs or is paused.

        libvirt answers some milliseconds later, when the disks are served as well.
        Raises ForeignJob at once when a job runs on the domain, HypervisorFailed, InstanceGone.
        """
        if job := _domain_job(self._domain):
            raise ForeignJob(instance=self._domain.UUIDString(), job=job)
        self._asked = time.time()
        self._answer = answer = background.begin("backup", self._ask)
        answer.add_done_callback(lambda _: self._fixed.set())
        self._fixed.wait()
        if answer.done():
            answer.result()

    def running(self, at: float) -> None:
        """QEMU runs a backup since then, time.time(): it is this one if it was asked for before."""
        if at >= self._asked:
            self._fixed.set()

    def answered(self) -> None:
        """Waits until libvirt has answered, if it was asked."""
        if self._answer:
            wait([self._answer])

    def served(self) -> None:
        """Waits until the disks are served, if it has begun; raises HypervisorFailed, InstanceGone."""
        if self._answer:
            self._answer.result()

    def _ask(self) -> None:
        domain = self._domain
        try:
            domain.backupBegin(self._xml, None, libvirt.VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_OPERATION_TIMEOUT:  # a job came in between
                words, instance_id = "one that began just now", domain.UUIDString()
                raise ForeignJob(instance=instance_id, job=words, operator=str(error)) from error
            raise running_failure(error, "begin a backup", domain) from error


@contextmanager
def prepared(
    connection: Connection, instance_id: str, socket: Path, disks: Sequence[BackupDisk], others: Sequence[str] = ()
) -> Iterator[Backup]:
    """A backup of these disks, to begin in the block, after which they are served on `socket`.

    others: targets of the domain's other disks, which are left alone.
    Raises HypervisorUnavailable, HypervisorFailed, InstanceGone.
    """
    domain = connection.domain(instance_id)
    backup = Backup(domain, begin_xml(socket, disks, others))
    with jobevents.backups_running(domain, backup.running):
        try:
            yield backup
        finally:
            backup.answered()  # whoever ends it then finds it there
        backup.served()


def begin_xml(socket: Path, disks: Sequence[BackupDisk], others: Sequence[str]) -> str:
    """libvirt's description of the backup."""
    root = ET.Element("domainbackup", mode="pull")
    ET.SubElement(root, "server", transport="unix", socket=str(socket))
    listed = ET.SubElement(root, "disks")
    for disk in disks:
        element = ET.SubElement(
            listed, "disk", name=disk.target, backup="yes", type="file", exportname=disk.export, backupmode="full"
        )
        ET.SubElement(element, "driver", type="qcow2")
        ET.SubElement(element, "scratch", file=str(disk.scratch))
    for target in others:
        ET.SubElement(listed, "disk", name=target, backup="no")
    return ET.tostring(root, encoding="unicode")


def running_job(connection: Connection, instance_id: str) -> str | None:
    """Any job of libvirt on the domain, or block job on one of its disks, in words; None when there is none."""
    domain = connection.domain(instance_id)
    return _domain_job(domain) or _block_job(domain)


def backup_socket(connection: Connection, instance_id: str) -> Path | None:
    """The socket of the pull-mode backup that runs on the domain; None when none runs."""
    return _backup_socket(connection.domain(instance_id))


def abort(connection: Connection, instance_id: str, socket: Path, timeout: float) -> None:
    """Ends the backup that is served on this socket and waits for its end; any other backup is left alone.

    Fine when it has ended, or the domain has stopped or is gone. Allow 90 seconds: a guest that rebooted meanwhile
    makes libvirt slow. Raises DeadlineExceeded, HypervisorUnavailable.
    """
    try:
        domain = connection.domain(instance_id)
        if _backup_socket(domain) == socket:
            _abort(domain)
            _wait_for_end(domain, socket, timeout)
    except InstanceGone:
        return


def _abort(domain: Any) -> None:
    try:
        domain.abortJob()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:  # "no job is active": it ended just now
            raise running_failure(error, "abort the backup", domain) from error


def _wait_for_end(domain: Any, socket: Path, timeout: float) -> None:
    deadline, pause = time.monotonic() + timeout, _FIRST_PAUSE
    while _backup_socket(domain) == socket:
        if time.monotonic() + pause > deadline:
            raise DeadlineExceeded(what="Ending the backup job", seconds=timeout)
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def _backup_socket(domain: Any) -> Path | None:
    try:
        description = ET.fromstring(domain.backupGetXMLDesc(0))  # noqa: S314  libvirt writes this XML itself
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_BACKUP:
            return None
        raise running_failure(error, "describe the backup", domain) from error
    server = description.find("server[@transport='unix']")
    return Path(server.get("socket", "")) if server is not None else None


def _domain_job(domain: Any) -> str | None:
    with translated_running("tell which job runs on a domain", domain):
        stats = domain.jobStats(0)
    if stats.get("type", libvirt.VIR_DOMAIN_JOB_NONE) == libvirt.VIR_DOMAIN_JOB_NONE:
        return None
    return _JOBS.get(stats.get(libvirt.VIR_DOMAIN_JOB_OPERATION), "a job of unknown kind")


def _block_job(domain: Any) -> str | None:
    with translated_running("tell which block jobs run on a domain", domain):
        for disk in definition(domain.XMLDesc(0)).disks:
            if found := domain.blockJobInfo(disk.target, 0):
                return f"{_BLOCK_JOBS.get(found['type'], 'a block job of unknown kind')} of {disk.target}"
    return None
