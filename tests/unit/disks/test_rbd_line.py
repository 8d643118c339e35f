"""A line without a cluster: who waits how long, and what becomes of work that comes too late."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from lab.wait import until
from stillframe.disks.rbd.door import addresses
from stillframe.disks.rbd.line import Line
from stillframe.errors.capture import DeadlineExceeded


class Connection:
    """Notes its end."""

    def __init__(self) -> None:
        self.down = threading.Event()

    def shutdown(self) -> None:
        self.down.set()


def test_work_is_done_in_order_by_one_thread_that_is_not_ours() -> None:
    line = Line(Connection)
    threads = {line.call("Working", 5, lambda _: threading.get_ident()) for _ in range(3)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    line.abandon()


def test_what_work_raises_the_caller_gets_and_the_line_goes_on() -> None:
    line = Line(Connection)
    with pytest.raises(KeyError):
        line.call("Working", 5, lambda _: dict[str, int]()["none"])
    assert line.call("Working", 5, lambda _: 1) == 1
    line.abandon()


STANDS_STILL = """
import time
from stillframe.disks.rbd.line import Line

class Connection:
    def shutdown(self):
        pass

def work(_):
    print("begun", flush=True)
    time.sleep(0.2)
    return "done"

print(Line(Connection).call("Working", 0.8, work), flush=True)
"""


def test_a_process_that_was_stopped_as_a_whole_has_not_waited_meanwhile() -> None:
    with subprocess.Popen([sys.executable, "-c", STANDS_STILL], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.send_signal(signal.SIGCONT)
        assert process.communicate(timeout=10)[0] == "done\n"


def test_work_that_comes_too_late_is_undone_before_the_connection_ends() -> None:
    connection, late, undone = Connection(), threading.Event(), []
    line = Line(lambda: connection)
    with pytest.raises(DeadlineExceeded, match=r"Working took longer than 0\.01 seconds"):
        line.call("Working", 0.01, lambda _: late.wait(5), lambda each: undone.append(each.down.is_set()))
    assert line.abandoned
    assert not connection.down.is_set()
    late.set()
    assert connection.down.wait(5)
    assert undone == [False]


def test_work_that_was_given_up_before_it_began_is_not_begun() -> None:
    connection, gate, done = Connection(), threading.Event(), []
    line = Line(lambda: connection)
    line.begin(lambda _: gate.wait(5))
    with pytest.raises(DeadlineExceeded):
        line.call("Working", 0.01, lambda _: done.append("work"), lambda _: done.append("undo"))
    gate.set()
    assert connection.down.wait(5)
    assert done == []


def test_work_that_fails_too_late_and_an_undo_that_fails_end_the_connection_all_the_same() -> None:
    for work, undo in ((lambda _: 1 / 0, None), (lambda _: 1, lambda _: 1 / 0)):
        connection, gate = Connection(), threading.Event()
        line = Line(lambda connection=connection: connection)  # type: ignore[misc]
        with pytest.raises(DeadlineExceeded):
            line.call("Working", 0.01, lambda _, gate=gate, work=work: (gate.wait(5), work(_)), undo)  # type: ignore[misc]
        gate.set()
        assert connection.down.wait(5)


def test_a_connection_that_fails_fails_all_work() -> None:
    def refuse() -> Connection:
        raise ConnectionRefusedError

    others = set(threading.enumerate())
    line = Line(refuse)
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            line.call("Working", 5, lambda _: 1)
    line.abandon()
    until(lambda: not set(threading.enumerate()) - others, 5, "the end of its thread")


def test_monitors_in_every_spelling_have_addresses() -> None:
    assert addresses("a.example:6790") == [("a.example", 6790)]
    assert addresses("[v2:10.0.0.1:3300,v1:10.0.0.1:6789]") == [("10.0.0.1", 3300), ("10.0.0.1", 6789)]
    assert addresses("[v2:[fd00::1]:3300]") == [("fd00::1", 3300)]
    assert addresses("[fd00::1]:6789") == [("fd00::1", 6789)]
    assert addresses("10.0.0.1") == [("10.0.0.1", 3300), ("10.0.0.1", 6789)]
