"""Which agent this is, from its first start on: how a restarted one is told from another with the same host's name."""

from __future__ import annotations

import uuid
from pathlib import Path

NAME = "agent-id"


def identity(state_dir: Path) -> str:
    """The id in the state directory, made when there is none; the directory's lock is held by the caller."""
    file = state_dir / NAME
    if not file.exists():
        new = file.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(str(uuid.uuid4()))
        new.replace(file)
    return file.read_text().strip()
