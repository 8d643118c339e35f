"""Which Ceph cluster a disk or an image is on, and as whom it is reached: as its domain does, or as configured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stillframe.config import Ceph as CephOptions
from stillframe.config import CephCluster
from stillframe.disks.rbd.cluster import Cluster, Clusters
from stillframe.disks.rbd.names import Endpoint, RbdImage
from stillframe.errors.capture import HypervisorFailed, HypervisorUnavailable
from stillframe.errors.ceph import WrongCluster
from stillframe.hypervisor import secrets
from stillframe.hypervisor.connection import Connection
from stillframe.model import RbdPlace

SNAP = "snap"  # the snapshot that glance_store makes of each image, protects, and tells in its location
PREFIX = "stillframe-"  # of the snapshots that captures make of disks; the id of the image follows
PORT = "6789"
DEFAULT_CONF = Path("/etc/ceph/ceph.conf")  # what QEMU's own librbd reads for a disk that names no monitor


@dataclass(frozen=True, slots=True)
class OnRbd:
    """An image, or a snapshot of it, and the cluster, connected, that it is on."""

    cluster: Cluster
    image: RbdImage
    snap: str = ""  # empty: the image itself


def location(image: RbdImage) -> str:
    """An image as glance_store writes it down."""
    return f"rbd://{image.fsid}/{image.pool}/{image.image}/{SNAP}"


class Ceph:
    """All clusters of this host. Safe to use from any thread; keys are asked of libvirt and kept nowhere else."""

    def __init__(
        self, clusters: Clusters, hypervisor: Connection, options: CephOptions, configured: tuple[CephCluster, ...]
    ) -> None:
        self.options = options
        self._clusters = clusters
        self._hypervisor = hypervisor
        self._configured = {cluster.name: cluster for cluster in configured}
        self._reached: dict[RbdPlace, Cluster] = {}

    def at(self, place: RbdPlace, fsid: str | None = None) -> OnRbd:
        """What is at this place, in the cluster with this fsid where one is expected.

        Raises WrongCluster, CephUnreachable, CephRefused, HypervisorUnavailable, HypervisorFailed (no key is told).
        """
        cluster = self._cluster(place)
        if fsid is not None and cluster.fsid != fsid:
            raise WrongCluster(what=place, found=cluster.fsid, expected=fsid)
        return OnRbd(cluster, cluster.image(place.pool, place.image), place.snap or "")

    def store(self, image: str) -> tuple[OnRbd, RbdPlace] | None:
        """Where the image store keeps an image of this name on RBD; None: it has no cluster. Raises as `at`."""
        name = self.options.store_cluster
        if name is None:
            return None
        configured = self._configured[name]
        cluster = self._clusters.open(_endpoint(configured))
        place = RbdPlace(
            self.options.store_pool,
            image,
            monitors=configured.monitors,
            user=configured.user,
            conf=str(configured.conf) if configured.conf else None,
        )
        return OnRbd(cluster, cluster.image(place.pool, place.image)), place

    def close(self) -> None:
        """Lets go of all connections."""
        self._clusters.close()

    def _cluster(self, place: RbdPlace) -> Cluster:
        way = RbdPlace("", "", place.monitors, place.user, place.secret, place.conf)
        try:
            endpoint = self._endpoint(place)
        except HypervisorUnavailable:
            if way not in self._reached:
                raise
            return self._reached[way]
        self._reached[way] = self._clusters.open(endpoint)
        return self._reached[way]

    def _endpoint(self, place: RbdPlace) -> Endpoint:
        configured = self._configured_for(place)
        if place.secret is None and configured is not None:
            return _endpoint(configured)
        try:
            key = secrets.ceph_key(self._hypervisor, place.secret) if place.secret else None
        except HypervisorFailed:
            if configured is None:
                raise
            return _endpoint(configured)
        conf = Path(place.conf) if place.conf else None
        if conf is None and not place.monitors:
            conf = DEFAULT_CONF
        return Endpoint(place.monitors, place.user or "admin", key, conf)

    def _configured_for(self, place: RbdPlace) -> CephCluster | None:
        """The configured cluster that has one of these monitors."""
        wanted = set(map(_address, place.monitors))
        same = (cluster for cluster in self._configured.values() if wanted & set(map(_address, cluster.monitors)))
        by_conf = (each for each in self._configured.values() if place.conf and each.conf == Path(place.conf))
        return next(same, None) or next(by_conf, None)


def _endpoint(cluster: CephCluster) -> Endpoint:
    return Endpoint(cluster.monitors, cluster.user, None, cluster.conf, cluster.keyring)


def _address(monitor: str) -> str:
    """A monitor's host and port, however it is written; with [v2:HOST:PORT,v1:HOST:PORT] the last of them."""
    plain = monitor.strip("[]").split(",")[-1].removeprefix("v1:").removeprefix("v2:")
    host, colon, port = plain.rpartition(":")
    return f"{host.strip('[]')}:{port}" if colon and port.isdigit() else f"{plain}:{PORT}"
