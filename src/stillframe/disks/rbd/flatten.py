"""A clone made independent of its parent."""

from __future__ import annotations

from stillframe.datapath.control import Control
from stillframe.disks.rbd.cluster import Cluster
from stillframe.disks.rbd.names import RbdImage


def flatten(cluster: Cluster, image: RbdImage, control: Control) -> None:
    """Copies what the clone still shares; nothing where it has no parent. It can be used meanwhile.

    `control` cancels it, limits its rate and counts its bytes (this announces them); what was copied stays, so a second
    call goes on from there. Raises RbdMissing, DeadlineExceeded when nothing moves for `control.stall` seconds.
    """
    raise NotImplementedError
