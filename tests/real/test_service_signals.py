"""Signals to the service."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

from lab.service import STACKS, Service
from lab.wait import until

TGKILL = 234  # of x86-64


def test_sigterm_ends_it_whichever_thread_the_kernel_chooses(service: Service) -> None:
    threads = sorted(int(entry.name) for entry in Path(f"/proc/{service.pid}/task").iterdir())
    assert threads[0] == service.pid
    ctypes.CDLL(None).syscall(TGKILL, service.pid, threads[-1], signal.SIGTERM)
    until(lambda: not service.running, 20, "the end of the service")


def test_sigusr2_tells_what_each_thread_does_and_changes_nothing(service: Service) -> None:
    os.kill(service.pid, signal.SIGUSR2)
    told = (STACKS, "services/process.py", "agent/service.py")
    until(lambda: all(part in service.log() for part in told), 10, "the stacks")
    assert service.answers()
