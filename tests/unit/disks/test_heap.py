"""What big blocks cost: the kernel fills new pages with zeros, which page faults tell."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from stillframe.disks import heap

ROUNDS, BLOCKS, SIZE, PAGE = 20, 8, 2 << 20, 4096

USE = f"""
import resource, sys
from stillframe.disks import heap
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


def faults(*words: str, **environment: str) -> int:
    """Page faults of a process of its own that takes and frees so many blocks again and again."""
    argv = [sys.executable, "-c", USE, *words]
    env = {**os.environ, **environment}
    return int(subprocess.run(argv, check=True, capture_output=True, timeout=30, env=env).stdout)


@pytest.mark.parametrize(("words", "environment"), [(["keep"], {}), ([], dict(heap.ENVIRONMENT))])
def test_freed_blocks_are_used_again(words: list[str], environment: dict[str, str]) -> None:
    new = ROUNDS * BLOCKS * SIZE // PAGE

    assert faults() > new // 2  # as it is without
    assert faults(*words, **environment) < new // 20
