from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from stillframe.hypervisor import power
from stillframe.hypervisor.backup import BackupDisk, begin_xml
from stillframe.hypervisor.runs import ended, owner_of, pid_directory, run_of
from stillframe.model import PowerState, VmState


def test_the_backup_names_every_disk_with_its_scratch_and_leaves_the_others() -> None:
    disks = [BackupDisk("vda", "root", Path("/s/a&b.qcow2")), BackupDisk("vdb", "data", Path("/s/b"))]
    root = ET.fromstring(begin_xml(Path("/run/x/nbd.sock"), disks, ["sda"]))  # noqa: S314
    assert root.get("mode") == "pull"
    server = root.find("server")
    assert server is not None
    assert server.attrib == {"transport": "unix", "socket": "/run/x/nbd.sock"}
    listed = {
        element.get("name"): (element.get("backup"), element.get("exportname"), element.find("scratch"))
        for element in root.iter("disk")
    }
    assert set(listed) == {"vda", "vdb", "sda"}
    assert listed["sda"] == ("no", None, None)
    assert listed["vda"][:2] == ("yes", "root")
    assert [scratch.get("file") for scratch in root.iter("scratch")] == ["/s/a&b.qcow2", "/s/b"]


@pytest.mark.parametrize(
    ("state", "saved", "told"),
    [
        (PowerState.RUNNING, False, VmState.ACTIVE),
        (PowerState.PAUSED, False, VmState.PAUSED),
        (PowerState.SUSPENDED, False, VmState.PAUSED),
        (PowerState.SHUTDOWN, False, VmState.STOPPED),
        (PowerState.SHUTDOWN, True, VmState.SUSPENDED),
        (PowerState.CRASHED, False, VmState.ERROR),
        (PowerState.NOSTATE, False, VmState.ERROR),
    ],
)
def test_vm_state_follows_the_power_state(state: PowerState, saved: bool, told: VmState) -> None:
    assert power.vm_state(state, managed_save=saved) is told


def test_pid_files_are_looked_for_beside_the_socket_of_the_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert pid_directory("qemu:///system") == Path("/run/libvirt/qemu")
    assert pid_directory("qemu+unix:///system?socket=/a/b/libvirt-sock") == Path("/a/b/qemu")
    assert pid_directory("qemu:///session") == Path("/run/user/7/libvirt/qemu/run")


class FakeDomain:
    def __init__(self, number: int, uuid: str = "") -> None:
        self.number = number
        self.uuid = uuid

    def ID(self) -> int:  # noqa: N802
        return self.number

    def name(self) -> str:
        return "vm"

    def UUIDString(self) -> str:  # noqa: N802
        return self.uuid


def test_a_run_is_told_from_another_with_the_same_domain_id_and_its_end_is_seen(tmp_path: Path) -> None:
    uri, uuid = f"qemu+unix:///system?socket={tmp_path}/libvirt-sock", "0b2b1f3e-6f4b-4b0e-9e0e-0f6e5a1c2d3e"
    (tmp_path / "qemu").mkdir()
    assert run_of(uri, FakeDomain(-1)) is None
    words = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", "-uuid", uuid]
    qemu = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert qemu.stdout is not None
    qemu.stdout.readline()
    (tmp_path / "qemu" / "vm.pid").write_text(f"{qemu.pid}\n")
    run = run_of(uri, FakeDomain(3, uuid))
    other = run_of(uri, FakeDomain(3, "cef9ff1e-dff8-4bb0-aeba-8c1a7664d5a3"))

    assert run is not None
    assert f":3:{qemu.pid}:" in run
    assert owner_of(uri, FakeDomain(3, uuid)) == (os.getuid(), os.getgid())
    assert other is not None
    assert other.endswith(":3:?:?")  # the pid is of some other process
    assert owner_of(uri, FakeDomain(3, "another")) is None
    assert not ended(run)
    assert not ended(other)
    assert ended(f"another-boot:{run.partition(':')[2]}")
    qemu.kill()
    os.waitid(os.P_PID, qemu.pid, os.WEXITED | os.WNOWAIT)
    assert ended(run)  # a zombie counts as gone
    qemu.communicate()
    assert ended(run)
