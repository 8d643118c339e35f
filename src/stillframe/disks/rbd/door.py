"""Why a cluster did not let us in: librados says "timed out" to a wrong key as well as to a dead monitor."""

from __future__ import annotations

import re
import socket

import rados

from stillframe.disks.rbd.names import Endpoint
from stillframe.errors.base import StillframeError
from stillframe.errors.ceph import CephRefused, CephUnreachable

BANNER = b"ceph v"  # of both messengers
LOOK = 1.0  # seconds for each monitor
ADDRESS = re.compile(r"(?:v[12]:)?(?P<host>\[[0-9a-fA-F:]+\]|[^\s,:\[\]]+):(?P<port>\d+)")
DEFAULT_PORTS = (3300, 6789)


def refusal(endpoint: Endpoint, timeout: float, error: Exception) -> StillframeError:
    """The failure to connect, in words: whether any monitor still answers tells whom to look at."""
    monitors = endpoint.monitors or _configured(endpoint)
    where, words = ", ".join(monitors) or str(endpoint.conf), str(error)
    if any(_answers(*address) for monitor in monitors for address in addresses(monitor)):
        return CephRefused(monitors=where, user=endpoint.user, operator=words)
    return CephUnreachable(monitors=where, seconds=timeout, operator=words)


def _configured(endpoint: Endpoint) -> tuple[str, ...]:
    """The monitors that the ceph.conf names; none where it cannot be read."""
    try:
        told: str = rados.Rados(rados_id=endpoint.user, conffile=str(endpoint.conf)).conf_get("mon_host")
    except rados.Error:
        return ()
    return (told,) if "[" in told else tuple(told.replace(",", " ").split())


def addresses(monitor: str) -> list[tuple[str, int]]:
    """Hosts and ports that a word of ceph.conf's mon_host names."""
    found = [(match["host"].strip("[]"), int(match["port"])) for match in ADDRESS.finditer(monitor)]
    return found or [(monitor.strip("[]"), port) for port in DEFAULT_PORTS]


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=LOOK) as connection:
            return connection.recv(len(BANNER)) == BANNER
    except OSError:
        return False
