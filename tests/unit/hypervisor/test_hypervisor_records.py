from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from stillframe.hypervisor import power
from stillframe.hypervisor.backup import BackupDisk, begin_xml
from stillframe.hypervisor.runs import pid_directory, run_of
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
    def __init__(self, number: int) -> None:
        self.number = number

    def ID(self) -> int:  # noqa: N802
        return self.number

    def name(self) -> str:
        return "vm"


def test_a_run_is_told_from_another_with_the_same_domain_id(tmp_path: Path) -> None:
    uri = f"qemu+unix:///system?socket={tmp_path}/libvirt-sock"
    assert run_of(uri, FakeDomain(-1)) is None
    unknown = run_of(uri, FakeDomain(3))
    (tmp_path / "qemu").mkdir()
    (tmp_path / "qemu" / "vm.pid").write_text("1\n")
    known = run_of(uri, FakeDomain(3))
    assert unknown is not None
    assert unknown.endswith(":3:?:?")
    assert known is not None
    assert ":3:1:" in known
    assert not known.endswith("?")
