"""What big blocks cost, as page faults tell: the kernel fills new pages with zeros. And arenas, as addresses."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from stillframe import heap

ROUNDS, BLOCKS, SIZE, PAGE = 20, 8, 2 << 20, 4096
THREADS, ARENA = 12, 64 << 10  # KiB of addresses that glibc reserves for an arena

USE = f"""
import resource, sys
from stillframe import heap
if "keep" in sys.argv:
    heap.keep()
def use():
    blocks = [bytes(bytearray({SIZE})) for _ in range({BLOCKS})]
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({ROUNDS}):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

ARENAS = f"""
import ctypes, sys, threading
from stillframe import heap
if "share" in sys.argv:
    heap.share()
malloc = ctypes.CDLL(None).malloc
def addresses():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1])
threading.stack_size(256 << 10)
before, all_here = addresses(), threading.Barrier({THREADS})
def use():
    malloc(ctypes.c_size_t(100))
    all_here.wait(20)
threads = [threading.Thread(target=use) for _ in range({THREADS})]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(20)
print(addresses() - before)
"""


def told(program: str, *words: str, **environment: str) -> int:
    """The number that a process of its own prints."""
    env = {**os.environ, **environment}
    argv = [sys.executable, "-c", program, *words]
    return int(subprocess.run(argv, check=True, capture_output=True, timeout=30, env=env).stdout)


@pytest.mark.parametrize(("words", "environment"), [(["keep"], {}), ([], dict(heap.ENVIRONMENT))])
def test_freed_blocks_are_used_again(words: list[str], environment: dict[str, str]) -> None:
    new = ROUNDS * BLOCKS * SIZE // PAGE

    assert told(USE) > new // 2  # as it is without
    assert told(USE, *words, **environment) < new // 20


def test_threads_share_arenas() -> None:
    assert told(ARENAS) > THREADS // 2 * ARENA  # as it is without
    assert told(ARENAS, "share") < (heap.ARENAS + 1) * ARENA
