"""Whether the files of a disk can be served by a process of ours, beside QEMU or without it."""

from __future__ import annotations

from stillframe.capture.subject import Subject
from stillframe.disks import graph


def obstacle_to_export(subject: Subject) -> str | None:
    """Why not every wanted disk can be served from its files; None when it can."""
    for wanted in subject.wanted:
        obstacle = graph.obstacle(wanted.disk)
        if obstacle:
            return f"{wanted.disk.target}: {obstacle}"
    return None
