"""Child processes: limits, deadlines, and lives that end when and only when they should."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Thread, get_native_id

import pytest

from lab.wait import until
from stillframe.disks.process import Child, alive, children_with, run, spawn, stop
from stillframe.errors.capture import DeadlineExceeded, ToolFailed


def started(*argv: str) -> Child:
    with tempfile.TemporaryFile() as stderr:
        return spawn(argv, stderr)


def test_output_is_given() -> None:
    assert run(["echo", "hello"], timeout=5) == "hello\n"


def test_a_failing_tool_is_an_error_with_its_own_words() -> None:
    with pytest.raises(ToolFailed) as failed:
        run(["sh", "-c", "echo broken >&2; exit 3"], timeout=5)
    assert failed.value.fault.operator == "broken"
    assert failed.value.fault.message == "sh failed."


def test_a_missing_tool_is_an_error() -> None:
    with pytest.raises(ToolFailed):
        run(["no-such-tool-anywhere"], timeout=5)


def test_a_tool_that_hangs_is_ended_at_its_deadline() -> None:
    mark = f"--mark={time.monotonic_ns()}"
    with pytest.raises(DeadlineExceeded):
        run(["sh", "-c", "exec sleep 60", mark], timeout=0.2)
    assert not children_with(mark)


def test_a_tool_cannot_take_all_memory() -> None:
    # CVE-2015-5162: a crafted image makes qemu-img allocate without end.
    with pytest.raises(ToolFailed) as failed:
        run([sys.executable, "-c", "bytearray(2 << 30)"], timeout=10)
    assert "MemoryError" in failed.value.fault.operator


def test_a_tool_cannot_take_all_processor_time() -> None:
    limits = run(["sh", "-c", "ulimit -t"], timeout=7)
    assert int(limits) == 8


def test_a_child_outlives_the_thread_that_asked_for_it() -> None:
    asked: list[tuple[Child, int]] = []
    asking = Thread(target=lambda: asked.append((started("sleep", "60"), get_native_id())))
    asking.start()
    asking.join()
    child, thread = asked[0]
    until(lambda: not Path(f"/proc/self/task/{thread}").exists(), 5, "the end of the thread in the kernel")
    assert alive(child)
    stop(child, 5)
    assert not alive(child)


def test_a_child_dies_with_a_parent_that_is_killed() -> None:
    mark = f"--mark={time.monotonic_ns()}"
    program = (
        "import sys, tempfile, time\n"
        "from stillframe.disks.process import spawn\n"
        f"spawn(['sh', '-c', 'sleep 60; true', '{mark}'], tempfile.TemporaryFile())\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        until(lambda: any(alive(child) for child in children_with(mark)), 5, "the child")
        parent.send_signal(signal.SIGKILL)
        parent.wait(5)
    until(lambda: not any(alive(child) for child in children_with(mark)), 5, "the end of the child")


def test_stopping_twice_and_stopping_what_is_gone_is_fine() -> None:
    child = started("sleep", "60")
    stop(child, 5)
    stop(child, 5)
    stop(Child(2**22 - 1, 1), 5)


def test_what_ignores_sigterm_is_killed() -> None:
    child = started("sh", "-c", "trap '' TERM; while :; do sleep 1; done")
    until(lambda: b"trap" in Path(f"/proc/{child.pid}/cmdline").read_bytes(), 5, "the shell")
    stop(child, 1)
    assert not alive(child)


def test_another_process_of_the_same_number_is_never_touched() -> None:
    child = started("sleep", "60")
    stop(Child(child.pid, child.started - 1), 5)
    assert alive(child)
    assert not alive(Child(child.pid, child.started - 1))
    stop(child, 5)


def test_a_zombie_counts_as_gone() -> None:
    with subprocess.Popen(["true"]) as process:
        started_at = int(Path(f"/proc/{process.pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
        zombie = Child(process.pid, started_at)
        until(lambda: not alive(zombie), 5, "its end")
        stop(zombie, 1)


def test_processes_are_found_by_a_whole_word_of_their_command_line() -> None:
    mark = f"--mark={time.monotonic_ns()}"
    child = started("sh", "-c", "sleep 60; true", mark)
    until(lambda: children_with(mark) == [child], 5, "the child")
    assert children_with(mark[:-1]) == []
    stop(child, 5)
    assert children_with(mark) == []


def test_our_own_process_is_alive() -> None:
    fields = Path(f"/proc/{os.getpid()}/stat").read_bytes().rpartition(b")")[2].split()
    assert alive(Child(os.getpid(), int(fields[19])))
