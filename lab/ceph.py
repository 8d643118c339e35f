"""Ceph clusters of one's own: a monitor and an OSD over a sparse file, ready within 3 s; any number side by side.

The daemons are children of this process and end with the thread that started them, whatever ends it. Keys are on
(cephx); the users are those of a real deployment. There is no manager: RBD needs none, but nobody then knows how full
the cluster is.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import rados

from lab import processes
from lab.disks import GuestDisk, RbdPlace
from lab.lasting import Lasting
from lab.tools import environment, tool
from lab.wait import until

Daemon = Literal["mon", "osd"]
DAEMONS: tuple[Daemon, ...] = ("mon", "osd")
COMMANDS: Mapping[Daemon, tuple[str, str]] = {"mon": ("ceph-mon", "a"), "osd": ("ceph-osd", "0")}
POOLS = ("vms", "images", "volumes")
READ_ONLY_IMAGES = "profile rbd-read-only pool=images"
USERS = {
    "nova": f"profile rbd pool=vms, profile rbd pool=volumes, {READ_ONLY_IMAGES}",
    "cinder": f"profile rbd pool=volumes, profile rbd pool=vms, {READ_ONLY_IMAGES}",
    "glance": "profile rbd pool=images",
}
GIB = 1 << 30
DEADLINE = 30.0  # seconds for anything that a healthy cluster does at once

CONF = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{port},v1:127.0.0.1:{port_v1}]
keyring = {directory}/$name.keyring
run dir = {directory}/run
admin socket = {directory}/run/$name.asok
pid file = {directory}/run/$name.pid
log file = {directory}/run/$name.log
crash dir = {directory}/run
auth allow insecure global id reclaim = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg autoscale mode = off
[mon]
mon data = {directory}/mon
mon cluster log file = {directory}/run/cluster.log
mon allow pool size one = true
mon allow pool delete = true
mon data avail warn = 2
mon data avail crit = 1
mgr initial modules =
osd crush chooseleaf type = 0
paxos propose interval = 0.05
[osd]
osd data = {directory}/osd
public addr = 127.0.0.1
cluster addr = 127.0.0.1
osd client watch timeout = 15
bluestore block size = {size}
bluestore cache autotune = false
bluestore cache size = {cache}
bluestore fsck on mkfs = false
bdev aio poll ms = 10
[client]
admin socket =
log file =
"""


class CephCluster(Lasting):
    """A cluster that keeps everything in `directory` (short: socket paths end at 107 bytes), on a real disk."""

    def __init__(self, directory: Path, *, size: int = 20 * GIB, cache: int = 64 << 20) -> None:
        """`size` of the OSD, whose file is sparse; `cache`: bytes of its memory for data."""
        self.directory = directory
        self.fsid: Final = str(uuid.uuid4())
        self.conf: Final = directory / "ceph.conf"
        self._port = _free_ports()
        self._size = size
        self._cache = cache
        self._daemons: dict[Daemon, subprocess.Popen[bytes]] = {}

    # ------------------------------------------------------------------------------------------- the daemons' lives

    def start(self) -> None:
        """Starts it, the first time from nothing; images can be made when this returns."""
        if self.conf.exists():
            self.restart(*DAEMONS)
            return
        self._prepare()
        self._run("mon")
        osd = str(uuid.uuid4())
        making = subprocess.Popen(
            [*self._command("osd"), "--mkfs", "--osd-uuid", osd], stderr=subprocess.DEVNULL, env=environment()
        )
        with self.administrator() as admin:
            _command(admin, "osd new", uuid=osd)
            for pool in POOLS:
                _make_pool(admin, pool)
        making.wait(DEADLINE)
        self._run("osd")
        self._wait_ready()

    def stop(self) -> None:
        """Ends both daemons; nothing of the cluster is left but its directory."""
        for daemon in DAEMONS:
            self.kill(daemon)

    def kill(self, daemon: Daemon) -> None:
        """SIGKILL, as when its host loses power; nothing where it does not run."""
        if daemon in self._daemons:
            self._daemons[daemon].kill()
            self._daemons.pop(daemon).wait(DEADLINE)

    def pause(self, daemon: Daemon) -> None:
        """SIGSTOP: it takes connections and requests, and never answers, until `go_on`.

        Within 7 s: placement groups without replicas never go on by themselves once their lease is over (16 s, half of
        which may have passed); `restart` helps.
        """
        self._daemons[daemon].send_signal(signal.SIGSTOP)

    def go_on(self, daemon: Daemon) -> None:
        """SIGCONT."""
        self._daemons[daemon].send_signal(signal.SIGCONT)

    def fill(self) -> None:
        """From now on it counts as full, as its monitors say when this returns: writes wait until `make_room`."""
        for ratio in ("nearfull", "backfillfull", "full"):
            self.command(f"osd set-{ratio}-ratio", ratio=1e-5)
        until(lambda: "full" in self.command("osd dump")["osds"][0]["state"], DEADLINE, "the cluster to be full")

    def make_room(self) -> None:
        """Ends `fill`."""
        for ratio in ("full", "backfillfull", "nearfull"):
            self.command(f"osd set-{ratio}-ratio", ratio=0.95)
        until(lambda: "full" not in self.command("osd dump")["osds"][0]["state"], DEADLINE, "the cluster to have room")

    def restart(self, *daemons: Daemon) -> None:
        """Starts what was killed (or kills it first), and waits until images can be made."""
        for daemon in daemons:
            self.kill(daemon)
            if daemon == "osd":
                self._declare_dead()
            self._run(daemon)
        self._wait_ready()

    def _declare_dead(self) -> None:
        """Tells the monitor, which must run, that the OSD is dead: nobody waits until the end of its lease."""
        self.command("osd down", ids=["0"], definitely_dead=True)

    def _prepare(self) -> None:
        for name in ("mon", "osd", "run"):
            (self.directory / name).mkdir(parents=True)
        self.conf.write_text(
            CONF.format(
                fsid=self.fsid,
                port=self._port,
                port_v1=self._port + 1,
                directory=self.directory,
                size=self._size,
                cache=self._cache,
            )
        )
        rings = [self._ring("mon.", mon="allow *")]
        (self.directory / "mon.a.keyring").symlink_to(rings[0].name)
        rings.append(self._ring("client.admin", mon="allow *", mgr="allow *", osd="allow *"))
        rings.append(self._ring("osd.0", mon="allow profile osd", mgr="allow profile osd", osd="allow *"))
        rings += [self._ring(f"client.{user}", mon="profile rbd", osd=caps) for user, caps in USERS.items()]
        seed = self.directory / "seed.keyring"
        seed.write_text("".join(ring.read_text() for ring in rings))
        tool(*self._command("mon"), "--mkfs", "--keyring", seed)

    def _ring(self, name: str, **caps: str) -> Path:
        """A new keyring with one entity."""
        path = self.directory / f"{name}.keyring"
        words = [word for service, cap in caps.items() for word in ("--cap", service, cap)]
        tool("ceph-authtool", "-C", path, "-g", "-n", name, *words)
        return path

    def _command(self, daemon: Daemon) -> tuple[str, ...]:
        name, number = COMMANDS[daemon]
        return (name, "-c", str(self.conf), "-i", number)

    def _run(self, daemon: Daemon) -> None:
        argv = ["setpriv", "--pdeathsig", "KILL", "--", *self._command(daemon), "-f"]
        with (self.directory / "run" / f"{daemon}.out").open("ab") as output:
            self._daemons[daemon] = subprocess.Popen(argv, stdout=output, stderr=output, env=environment())

    def _wait_ready(self) -> None:
        """The OSD is in the monitor's map, and an image can be made."""
        until(lambda: self._alive() and self._up(), DEADLINE, f"the OSD of the cluster in {self.directory}")
        name = f"probe-{uuid.uuid4().hex[:8]}"
        until(lambda: self._alive() and self._probed(name), DEADLINE, f"a write to the cluster in {self.directory}")

    def _up(self) -> bool:
        return all(osd["up"] for osd in self.command("osd dump")["osds"])

    def _alive(self) -> bool:
        for daemon, process in self._daemons.items():
            if not processes.alive(process.pid):
                words = (self.directory / "run" / f"{daemon}.out").read_text(errors="replace")
                raise RuntimeError(f"ceph-{daemon} ended:\n{words[-4000:]}")
        return True

    def _probed(self, name: str) -> bool:
        try:
            self.rbd("create", "--size", "1M", f"{POOLS[0]}/{name}", timeout=DEADLINE)
        finally:
            self.rbd("rm", "--no-progress", f"{POOLS[0]}/{name}", timeout=DEADLINE)
        return True

    # --------------------------------------------------------------------------------------------- what others need

    @property
    def monitors(self) -> tuple[str, ...]:
        """host:port of the first messenger, as Nova and Cinder write it into a domain's definition."""
        return (f"127.0.0.1:{self._port + 1}",)

    def access(self, user: str = "nova") -> RbdPlace:
        """How this user gets in."""
        return RbdPlace(self.monitors, user, self.key(user))

    def key(self, user: str) -> str:
        """The user's secret key."""
        return tool("ceph-authtool", self.keyring(user), "-n", f"client.{user}", "-p").strip()

    def keyring(self, user: str) -> Path:
        """The file with the user's secret key."""
        return self.directory / f"client.{user}.keyring"

    def make_user(self, name: str, osd: str, mon: str = "profile rbd") -> RbdPlace:
        """A user with these capabilities, such as "profile rbd pool=vms"; one that exists gets them instead of his."""
        if not self.keyring(name).exists():
            self._ring(f"client.{name}", mon=mon, osd=osd)
        with self.administrator() as admin:
            _command(admin, "auth import", data=_entry(name, self.key(name), mon=mon, osd=osd))
        return self.access(name)

    def make_pool(self, name: str) -> None:
        """A pool for images."""
        with self.administrator() as admin:
            _make_pool(admin, name)

    def command(self, prefix: str, **arguments: Any) -> Any:
        """The answer of the monitors to a command of the administrator's, such as "osd dump"."""
        with self.administrator() as admin:
            return _command(admin, prefix, **arguments)

    def administrator(self) -> rados.Rados:
        """A connection that may do everything; the caller shuts it down, or uses it as a context."""
        limits = {"client_mount_timeout": "10", "rados_mon_op_timeout": "20", "rados_osd_op_timeout": "20"}
        return rados.Rados(conffile=str(self.conf), rados_id="admin", conf=limits)

    def rbd(self, *words: str | Path, user: str = "admin", timeout: float = 60) -> str:
        """Standard output of the command rbd."""
        return tool("rbd", "-c", self.conf, "--id", user, *words, timeout=timeout)

    def contents(self) -> dict[str, Any]:
        """Everything in every pool: images, snapshots with their protection, trash, locks; to be compared."""
        found: dict[str, Any] = {}
        for pool in self.command("osd pool ls"):
            images = json.loads(self.rbd("ls", "--long", "--format", "json", pool))
            found[pool] = sorted(
                (each["image"], each.get("snapshot", ""), each.get("protected", ""), each["size"], each.get("parent"))
                for each in images
            )
            found[f"{pool}, trash"] = sorted(self.rbd("trash", "ls", "--all", pool).splitlines())
        return found

    def disk(self, disk: GuestDisk, image: str, *, pool: str = "vms", user: str = "nova") -> GuestDisk:
        """The raw disk's bytes as an image; its file is removed."""
        self.rbd("import", "--no-progress", disk.path, f"{pool}/{image}", timeout=300)
        disk.path.unlink()
        return GuestDisk(Path(pool, image), "raw", kind="network", rbd=self.access(user))


def _command(admin: rados.Rados, prefix: str, *, data: bytes = b"", **arguments: Any) -> Any:
    code, answer, words = admin.mon_command(json.dumps({"prefix": prefix, "format": "json", **arguments}), data)
    if code:
        raise RuntimeError(f"{prefix}: {os.strerror(-code)}: {words}")
    return json.loads(answer) if answer.strip() else None


def _make_pool(admin: rados.Rados, name: str) -> None:
    _command(admin, "osd pool create", pool=name, pg_num=8)
    _command(admin, "osd pool application enable", pool=name, app="rbd")


def _entry(user: str, key: str, **caps: str) -> bytes:
    lines = [f"[client.{user}]", f"key = {key}", *(f'caps {service} = "{cap}"' for service, cap in caps.items())]
    return "".join(f"{line}\n" for line in lines).encode()


def _free_ports() -> int:
    """A port that is free with the next one, below those that the kernel gives away."""
    while True:
        port = random.randrange(20000, 32000, 2)  # noqa: S311
        try:
            with socket.socket() as one, socket.socket() as two:
                one.bind(("127.0.0.1", port))
                two.bind(("127.0.0.1", port + 1))
        except OSError:
            continue
        return port
