"""What can be done on a cluster, found out without a trace."""

from __future__ import annotations

import json
from typing import Any

import rados

from stillframe.disks.rbd.cluster import Cluster
from stillframe.disks.rbd.task import Task
from stillframe.errors.ceph import CephFailed, CephFull

TIMEOUT = 10.0  # seconds
MIMIC = "mnopqrstuvwxyz"  # first letters of the releases whose clients know clones of format 2
CLONE_FORMAT = "rbd_default_clone_format"
NOTHING = "stillframe-no-such-object"


def clone_format(cluster: Cluster, *, timeout: float = TIMEOUT) -> int:
    """Of new clones: 2 where no older client than Mimic's may connect, or the configuration says so; else 1."""

    def work(connection: rados.Rados) -> int:
        told: str = connection.conf_get(CLONE_FORMAT)
        if cluster.endpoint.conf is not None and told in {"1", "2"}:
            return int(told)
        release: str = _asked(connection, "osd dump").get("require_min_compat_client", "")
        return 2 if release[:1] in set(MIMIC) else 1

    return cluster.call("Asking Ceph for its oldest client", timeout, work)


def check_room(cluster: Cluster, pool: str, *, timeout: float = TIMEOUT) -> None:
    """Raises CephFull where the pool takes no more data: librados would wait for room, for ever."""

    def work(connection: rados.Rados) -> bool:
        pools = _asked(connection, "osd dump")["pools"]
        return any("full" in each["flags_names"].split(",") for each in pools if each["pool_name"] == pool)

    if cluster.call("Asking Ceph for full pools", timeout, work):
        raise CephFull(pool=pool)


def check_writable(cluster: Cluster, pool: str, *, timeout: float = TIMEOUT) -> None:
    """Raises CephForbidden where the cluster's user may not write to the pool, PoolMissing."""

    def work(ioctx: rados.Ioctx) -> None:
        try:
            ioctx.remove_object(NOTHING)  # a write, which is refused before it is seen that there is nothing
        except rados.ObjectNotFound:
            return

    Task(cluster, "write images", cluster.image(pool, "")).run(timeout, work)


def free(cluster: Cluster, pool: str, *, timeout: float = TIMEOUT) -> int | None:
    """Bytes that the pool still takes; None where the cluster does not tell (without a manager, without the right)."""

    def work(connection: rados.Rados) -> int | None:
        told = _asked(connection, "df")
        if not told["stats"]["total_bytes"]:
            return None
        rooms = [int(each["stats"]["max_avail"]) for each in told["pools"] if each["name"] == pool]
        return rooms[0] if rooms else None

    try:
        return cluster.call("Asking Ceph for its free space", timeout, work)
    except CephFailed:
        return None


def _asked(connection: rados.Rados, prefix: str) -> dict[str, Any]:
    """The monitors' answer; raises CephFailed."""
    code, answer, words = connection.mon_command(json.dumps({"prefix": prefix, "format": "json"}), b"")
    if code:
        raise CephFailed(what=f"answer {prefix}", operator=words)
    found: dict[str, Any] = json.loads(answer)
    return found
