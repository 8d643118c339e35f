"""libvirt's secrets, as far as disks need them."""

from __future__ import annotations

import base64

from stillframe.hypervisor.connection import Connection
from stillframe.hypervisor.translation import translated


def ceph_key(connection: Connection, secret: str) -> str:
    """The cephx key in the secret with this UUID; raises HypervisorUnavailable, HypervisorFailed.

    It is for the hands of librados alone: never to be logged, kept or put on a command line.
    """
    handle = connection.handle()
    with translated(f"tell the value of secret {secret}, which a disk on Ceph needs"):
        value: bytes = handle.secretLookupByUUIDString(secret).value(0)
    return base64.b64encode(value).decode()
