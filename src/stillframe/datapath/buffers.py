"""The memory of a copy: allocated once, page aligned as O_DIRECT wants it, used over and over."""

from __future__ import annotations

import mmap
import queue
import threading


class Slot:
    """One buffer, and how many have still to read it."""

    __slots__ = ("memory", "readers")

    def __init__(self, memory: memoryview) -> None:
        self.memory = memory
        self.readers = 0


class Pool:
    """So many buffers of one size, shared by threads."""

    def __init__(self, count: int, size: int) -> None:
        memory = memoryview(mmap.mmap(-1, count * size))
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        self._lock = threading.Lock()
        for start in range(0, count * size, size):
            self._free.put(Slot(memory[start : start + size]))

    def take(self, timeout: float) -> Slot | None:
        """A free buffer, or None when there was none for so many seconds."""
        try:
            return self._free.get(timeout=timeout) if timeout else self._free.get_nowait()
        except queue.Empty:
            return None

    def give_back(self, slot: Slot) -> None:
        """One of its readers is done; the last one frees the buffer."""
        with self._lock:
            slot.readers -= 1
            free = slot.readers == 0
        if free:
            self._free.put(slot)
