"""One service a state directory."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stillframe.errors.service import StateDirectoryInUse


@contextmanager
def locked(state_dir: Path) -> Iterator[None]:
    """Holds the state directory (made 0711 unless it exists); raises StateDirectoryInUse with the holder's pid.

    The kernel lets go of the lock when the process ends, however it ends.
    """
    state_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    with (state_dir / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise StateDirectoryInUse(path=state_dir, pid=file.read().strip() or "unknown") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
