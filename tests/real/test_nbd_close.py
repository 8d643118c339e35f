"""A reader that goes away in the middle must not hold up QEMU, which serves its guest from the same loop."""

from __future__ import annotations

import gc
import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.wait import until
from stillframe.disks.nbd import NbdReader

MIB = 1 << 20


class Monitor:
    """QMP, as much as is needed here; an answer that does not come within ten seconds is a TimeoutError."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.connect(str(path))
        self._file = self._socket.makefile("rw")
        self._file.readline()
        self.ask("qmp_capabilities")

    def ask(self, command: str, **arguments: Any) -> Any:
        self._file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._file.flush()
        while True:
            answer = json.loads(self._file.readline())
            if "event" not in answer:
                return answer["return"]

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@contextmanager
def serving(disk: Path, sockets: Path) -> Iterator[tuple[Monitor, Path]]:
    """A QEMU without a machine that serves the disk as `vda`."""
    node = f"driver=raw,node-name=disk,read-only=on,file.driver=file,file.filename={disk},file.read-only=on"
    control = sockets / "qmp.sock"
    qemu = subprocess.Popen(
        ["qemu-system-x86_64", "-machine", "none", "-nographic", "-nodefaults", "-blockdev", node,
         "-qmp", f"unix:{control},server=on,wait=off"],
    )  # fmt: skip
    try:
        until(control.exists, 10, "QEMU's monitor")
        monitor = Monitor(control)
        served = sockets / "nbd.sock"
        monitor.ask("nbd-server-start", addr={"type": "unix", "data": {"path": str(served)}})
        monitor.ask("block-export-add", type="nbd", id="export", **{"node-name": "disk", "name": "vda"})
        yield monitor, served
        monitor.close()
    finally:
        qemu.kill()
        qemu.wait()


def test_a_reader_closed_with_reads_under_way_lets_qemu_stop_its_server(tmp: Path) -> None:
    disk = tmp / "disk"
    disk.write_bytes(bytes(16 * MIB))
    with serving(disk, tmp) as (monitor, served):
        reader = NbdReader(served, "vda", timeout=5)
        buffers = [memoryview(bytearray(MIB // 2)) for _ in range(16)]
        tickets = [reader.start(number * (MIB // 2), buffer) for number, buffer in enumerate(buffers)]
        reader.finish(tickets[0], lambda: None)  # by now QEMU waits for room to send the rest
        reader.close()
        monitor.ask("nbd-server-stop")


def test_reads_leave_nothing_behind(tmp: Path) -> None:
    """libnbd's binding does: a terabyte has millions of them."""

    def views() -> int:
        gc.collect()
        return sum(type(each) is memoryview for each in gc.get_objects())

    disk, buffer = tmp / "disk", memoryview(bytearray(MIB))
    disk.write_bytes(bytes(MIB))
    with serving(disk, tmp) as (_, served), NbdReader(served, "vda", timeout=5) as reader:
        before = views()
        for number in range(200):
            reader.finish(reader.start(number * 4096, buffer[number : number + 4096]), lambda: None)
        assert views() == before
