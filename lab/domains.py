"""Guests: libvirt domains that boot the lab's guest system, and what one does with them."""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from xml.sax.saxutils import escape, quoteattr

import libvirt
import libvirt_qemu

from lab.disks import GuestDisk, RbdPlace
from lab.guest import COMMAND_LINE, GuestSystem, guest_system
from lab.libvirtd import PrivateLibvirtd
from lab.wait import until

T = TypeVar("T")

NOVA = "http://openstack.org/xmlns/libvirt/nova/1.1"
BOOT_DEADLINE = 90.0  # seconds; 3 on an idle machine


@dataclass(frozen=True, slots=True)
class NovaMetadata:
    """What Nova writes into the XML of its domains."""

    name: str
    flavor: str = "m1.tiny"
    project_id: str = "5f0f8a2d4c3b4e7a9d1c2b3a4f5e6d7c"
    user_id: str = "8d2c6f0e1b3a49d7a5c4e2f1b0d9c8a7"
    image_id: str | None = None


@dataclass(frozen=True, slots=True)
class GuestSpec:
    """How a guest is defined. The first disk is the root disk; with `disk_boot` the BIOS boots it, not our kernel."""

    disks: tuple[GuestDisk, ...] = ()
    name: str = field(default_factory=lambda: f"guest-{uuid.uuid4().hex[:8]}")
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    memory_mib: int = 128
    disk_boot: bool = False
    agent: bool = True
    nova: NovaMetadata | None = None
    extra_devices: str = ""


def domain_xml(spec: GuestSpec, system: GuestSystem, serial_log: Path) -> str:
    """The domain's definition."""
    if spec.disk_boot:
        boot = "<boot dev='hd'/>"
    else:
        kernel = f"<kernel>{system.kernel}</kernel><initrd>{system.initrd}</initrd>"
        boot = f"{kernel}<cmdline>{escape(COMMAND_LINE)}{'' if spec.disks else ' lab.disk=none'}</cmdline>"
    channel = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
    return f"""
<domain type='qemu'>
  <name>{escape(spec.name)}</name>
  <uuid>{spec.id}</uuid>
  {_nova(spec.nova) if spec.nova else ""}
  <memory unit='MiB'>{spec.memory_mib}</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type>{boot}</os>
  <features><acpi/><apic/></features>
  <on_reboot>restart</on_reboot>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    {"".join(_disk(disk) for disk in spec.disks)}
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <serial type='file'><source path={quoteattr(str(serial_log))} append='on'/></serial>
    {channel if spec.agent else ""}
    {spec.extra_devices}
  </devices>
</domain>"""


def _disk(disk: GuestDisk) -> str:
    policy = f" error_policy='{disk.error_policy}'" if disk.error_policy else ""
    return (
        f"<disk type='{disk.kind}' device='disk'>"
        f"<driver name='qemu' type='{disk.format}' cache='{disk.cache}' discard='unmap'{policy}/>"
        f"{_source(disk)}<target dev='{disk.target}' bus='virtio'/>"
        f"{'<readonly/>' if disk.read_only else ''}"
        f"{f'<serial>{escape(disk.serial)}</serial>' if disk.serial else ''}</disk>"
    )


def _source(disk: GuestDisk) -> str:
    name = quoteattr(str(disk.path))
    if disk.rbd is None:
        return f"<source {'dev' if disk.kind == 'block' else 'file'}={name}/>"
    hosts = "".join("<host name='{}' port='{}'/>".format(*monitor.split(":")) for monitor in disk.rbd.monitors)
    auth = f"<auth username={quoteattr(disk.rbd.user)}><secret type='ceph' uuid='{secret_id(disk.rbd)}'/></auth>"
    return f"<source protocol='rbd' name={name}>{hosts}{auth}</source>"


def secret_id(place: RbdPlace) -> str:
    """Under which libvirt keeps this user's key."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{place.user}:{place.key}"))


def define_secret(connection: libvirt.virConnect, place: RbdPlace) -> None:
    """Has libvirt keep the user's key; the same one again changes nothing."""
    number = secret_id(place)
    usage = f"<usage type='ceph'><name>{number}</name></usage>"
    xml = f"<secret ephemeral='no' private='no'><uuid>{number}</uuid>{usage}</secret>"
    connection.secretDefineXML(xml).setValue(base64.b64decode(place.key))


def _nova(nova: NovaMetadata) -> str:
    root = f"<nova:root type='image' uuid='{nova.image_id}'/>" if nova.image_id else ""
    return (
        f"<metadata><nova:instance xmlns:nova='{NOVA}'><nova:package version='34.0.0'/>"
        f"<nova:name>{escape(nova.name)}</nova:name><nova:creationTime>2026-01-01 00:00:00</nova:creationTime>"
        f"<nova:flavor name={quoteattr(nova.flavor)}><nova:memory>128</nova:memory><nova:disk>1</nova:disk>"
        f"<nova:swap>0</nova:swap><nova:ephemeral>0</nova:ephemeral><nova:vcpus>1</nova:vcpus></nova:flavor>"
        f"<nova:owner><nova:user uuid='{nova.user_id}'>a-user</nova:user>"
        f"<nova:project uuid='{nova.project_id}'>a-project</nova:project></nova:owner>{root}"
        f"</nova:instance></metadata>"
    )


class Guest:
    """A domain of a private libvirtd; its serial log lies in `directory`."""

    def __init__(self, host: PrivateLibvirtd, spec: GuestSpec, directory: Path) -> None:
        self.host = host
        self.spec = spec
        self.id = spec.id
        self.name = spec.name
        self.serial_log = directory / f"{spec.name}.serial"
        self.serial_log.touch()
        self.xml = domain_xml(spec, guest_system(), self.serial_log)

    # ------------------------------------------------------------------------------------------------- life

    def define(self) -> Guest:
        """Makes it a persistent domain, stopped."""
        self._define_secrets()
        self.with_connection(lambda connection: connection.defineXML(self.xml))
        return self

    def start(self) -> Guest:
        """Starts the defined domain (or restores its managed save); does not wait for the guest."""
        self.on_domain(lambda domain: domain.create())
        return self

    def start_transient(self) -> Guest:
        """Starts it without a persistent definition."""
        self._define_secrets()
        self.with_connection(lambda connection: connection.createXML(self.xml, 0))
        return self

    def _define_secrets(self) -> None:
        for place in (disk.rbd for disk in self.spec.disks):
            if place is not None:
                self.with_connection(partial(define_secret, place=place))

    def booted(self, deadline: float = BOOT_DEADLINE) -> Guest:
        """Waits until the guest's init is through, and its agent answers where it has one."""
        self.line(r"LAB ready uptime=(\S+)", deadline)
        return self.wait_for_agent(deadline) if self.spec.agent else self

    def destroy(self) -> None:
        """Pulls the plug; nothing if it does not run."""

        def pull(domain: libvirt.virDomain) -> None:
            if domain.isActive():
                domain.destroy()

        self.on_domain(pull)

    def remove(self) -> None:
        """Destroys and undefines it; nothing where it is gone already."""

        def drop(connection: libvirt.virConnect) -> None:
            try:
                domain = connection.lookupByUUIDString(self.id)
                if domain.isActive():
                    domain.destroy()
                if domain.isPersistent():
                    domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    raise

        self.with_connection(drop)

    def suspend(self) -> None:
        """Pauses its processors."""
        self.on_domain(lambda domain: domain.suspend())

    def resume(self) -> None:
        """Lets its processors go on."""
        self.on_domain(lambda domain: domain.resume())

    def managed_save(self) -> None:
        """Suspends it to disk; start() restores it."""
        self.on_domain(lambda domain: domain.managedSave())

    @property
    def state(self) -> tuple[int, int]:
        """libvirt's state and reason, such as (1, 1): running."""

        def ask(domain: libvirt.virDomain) -> tuple[int, int]:
            state, reason = domain.state()
            return state, reason

        return self.on_domain(ask)

    @property
    def running(self) -> bool:
        """Whether its processors run."""
        return bool(self.state[0] == libvirt.VIR_DOMAIN_RUNNING)

    # ------------------------------------------------------------------------------------------- the guest inside

    def serial(self) -> str:
        """All whole lines that the guest has said on its serial console; one that is still coming is left out."""
        said, newline, _ = self.serial_log.read_text(errors="replace").replace("\r\n", "\n").rpartition("\n")
        return said + newline

    def line(self, pattern: str, deadline: float = BOOT_DEADLINE, *, after: int = 0) -> re.Match[str]:
        """The first match of `pattern` in the serial log from offset `after`; waits for it."""

        def found() -> re.Match[str] | None:
            return re.search(pattern, self.serial()[after:])

        return until(found, deadline, f"{pattern!r} on the serial console {self.serial_log}")

    def wait_for_agent(self, deadline: float = BOOT_DEADLINE) -> Guest:
        """Waits until the guest agent answers."""

        def answers() -> bool:
            try:
                self.agent("guest-ping", timeout=2)
            except libvirt.libvirtError:
                return False
            return True

        until(answers, deadline, f"the guest agent of {self.name}")
        return self

    def agent(self, command: str, timeout: int = 5, **arguments: Any) -> Any:
        """What the guest agent returns; raises libvirt.libvirtError, also when it does not answer in time."""
        request = json.dumps({"execute": command, **({"arguments": arguments} if arguments else {})})
        answer = self.on_domain(lambda domain: libvirt_qemu.qemuAgentCommand(domain, request, timeout, 0))
        return json.loads(answer)["return"]

    def execute(self, script: str, deadline: float = 30) -> str:
        """Standard output of a shell script run in the guest by its agent; raises RuntimeError when it fails."""
        pid = self.agent("guest-exec", path="/bin/sh", arg=["-c", script], **{"capture-output": True})["pid"]

        def ended() -> dict[str, Any] | None:
            status: dict[str, Any] = self.agent("guest-exec-status", pid=pid)
            return status if status["exited"] else None

        status = until(ended, deadline, f"the end of {script!r} in {self.name}")
        output = base64.b64decode(status.get("out-data", "")).decode()
        if status.get("exitcode") != 0:
            raise RuntimeError(f"{script!r} in {self.name}: {status}\n{output}")
        return output

    def hang_agent(self, seconds: float) -> None:
        """Stops the agent's process for a while and returns when it hangs.

        libvirt still holds it for connected, and what it was asked meanwhile it does later.
        """
        script = f"p=$(pidof qemu-ga); (sleep 0.2; kill -STOP $p; sleep {seconds}; kill -CONT $p) >/dev/null 2>&1 &"
        self.execute(script)

        def hangs() -> bool:
            try:
                self.agent("guest-ping", timeout=1)
            except libvirt.libvirtError:
                return True
            return False

        until(hangs, 20, f"the agent of {self.name} to hang")

    # ------------------------------------------------------------------------------------------------ libvirt

    def on_domain(self, call: Callable[[libvirt.virDomain], T]) -> T:
        """What `call` returns for this domain, on a connection of its own."""
        return self.with_connection(lambda connection: call(connection.lookupByUUIDString(self.id)))

    def with_connection(self, call: Callable[[libvirt.virConnect], T]) -> T:
        """What `call` returns for a new connection, which is closed afterwards."""
        connection = self.host.connect()
        try:
            return call(connection)
        finally:
            connection.close()
