"""Options, by group, read once at the start and handed down as frozen records: there is no global configuration.

Each default says why it is that number, where it is not plain.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from oslo_config import cfg, types

from stillframe.cloudoptions import CINDER, GLANCE, NOVA, Cinder, Glance, Nova
from stillframe.errors.service import ConfigInvalid

MIB, GIB = 1 << 20, 1 << 30
CONFIG_DIRECTORY = Path("/etc/stillframe")
CONFIG_FILE = CONFIG_DIRECTORY / "stillframe.conf"


@dataclass(frozen=True, slots=True)
class Service:
    """[DEFAULT]"""

    state_dir: Path
    host: str
    log_level: str
    stop_deadline: float


@dataclass(frozen=True, slots=True)
class Api:
    """[api]"""

    socket: Path
    socket_group: str | None
    listen: str | None
    auth: str
    password_file: Path | None
    project: str
    public_url: str | None
    max_limit: int
    metadata_items: int
    threads: int


@dataclass(frozen=True, slots=True)
class Database:
    """[database]"""

    connection: str = field(repr=False)  # it may hold a password


@dataclass(frozen=True, slots=True)
class Controller:
    """[controller]"""

    host_timeout: float
    gone_grace: float
    keep_finished: int
    lost_host: str
    max_captures_per_host: int
    max_captures_per_project: int


@dataclass(frozen=True, slots=True)
class Agent:
    """[agent]"""

    libvirt_uri: str
    heartbeat: float
    progress_interval: float
    max_transfers: int
    guard_grace: float
    guard_silence: float


@dataclass(frozen=True, slots=True)
class Capture:
    """[capture]"""

    scratch_dir: Path
    scratch_cap: int
    scratch_reserve: int
    snapshot_image_format: str | None
    freeze_timeout: float
    agent_timeout: float
    job_wait: float
    step_deadline: float
    transfer_stall: float
    bandwidth: int
    cold: bool
    trim: bool
    allow_decrypted: bool
    allow_new_instant: bool
    pause_for_volumes: bool
    hash_holes_limit: int
    non_inheritable_image_properties: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Images:
    """[images]"""

    store: str
    directory: Path
    rbd_locations: bool


@dataclass(frozen=True, slots=True)
class Ceph:
    """[ceph]"""

    clusters: tuple[str, ...]
    target_pool: str
    store_cluster: str | None
    store_pool: str
    flatten: str
    flatten_bandwidth: int
    convert_ceph_raw_for_qcow2: bool
    enable_verify_image_md5sum: bool
    verify: str
    timeout: float


@dataclass(frozen=True, slots=True)
class CephCluster:
    """[ceph.name]: one for each name in [ceph] clusters"""

    name: str
    monitors: tuple[str, ...]
    conf: Path | None
    user: str
    keyring: Path | None


@dataclass(frozen=True, slots=True)
class Messaging:
    """[messaging]"""

    transport_url: str | None
    call_timeout: float


@dataclass(frozen=True, slots=True)
class Notifications:
    """[notifications]"""

    driver: str
    format: str
    transport_url: str | None


@dataclass(frozen=True, slots=True)
class Settings:
    """All options; one field a group."""

    service: Service
    api: Api
    database: Database
    controller: Controller
    agent: Agent
    capture: Capture
    images: Images
    glance: Glance
    nova: Nova
    cinder: Cinder
    messaging: Messaging
    notifications: Notifications
    ceph: Ceph
    ceph_clusters: tuple[CephCluster, ...]  # in the order of [ceph] clusters
    oslo: cfg.ConfigOpts  # for oslo.policy, oslo.messaging, keystonemiddleware, keystoneauth, which read their groups


SERVICE: list[cfg.Opt] = [
    cfg.StrOpt("state_dir", default="/var/lib/stillframe", help="The directory that holds all state of the service."),
    cfg.StrOpt("host", help="This host's name in records. Default: the machine's host name."),
    cfg.StrOpt(
        "log_level",
        default="INFO",
        choices=[
            ("DEBUG", "every decision"),
            ("INFO", "every request and every capture"),
            ("WARNING", "what is amiss and tried again"),
            ("ERROR", "what failed"),
        ],
        help="What is logged.",
    ),
    cfg.FloatOpt(
        "stop_deadline",
        default=20,
        min=0,
        help="Seconds that captures may go on after SIGTERM before they are cancelled. systemd kills after 90.",
    ),
]

KEYSTONE = "keystone"  # [api] auth

API: list[cfg.Opt] = [
    cfg.StrOpt("socket", help="The Unix socket of the API. Default: STATE_DIR/api.sock."),
    cfg.StrOpt("socket_group", help="The group whose members may use the Unix socket. Default: only its owner."),
    cfg.StrOpt("listen", help="ADDRESS:PORT to listen on as well, such as 127.0.0.1:8774. Default: nowhere."),
    cfg.StrOpt(
        "auth",
        default="http_basic",
        choices=[
            ("http_basic", "users of password_file"),
            ("keystone", "users of Keystone, by [keystone_authtoken]"),
            ("none", "everybody is an administrator"),
        ],
        help="Who is asking, on ADDRESS:PORT. none is for loopback addresses only.",
    ),
    cfg.StrOpt(
        "password_file",
        help="Lines of USER:BCRYPT_HASH[:PROJECT[:ROLE,ROLE]]; `stillframe password` makes one. For http_basic.",
    ),
    cfg.StrOpt("project", default="default", help="The project of users that name none, and of the Unix socket's."),
    cfg.StrOpt("public_url", help="The URL that clients reach this API at, for links. Default: the request's own."),
    cfg.IntOpt("max_limit", default=1000, min=1, help="The most items in one answer, as in Nova."),
    cfg.IntOpt("metadata_items", default=128, min=0, help="The most metadata items of one image before 2.39."),
    cfg.IntOpt("threads", default=8, min=2, help="Requests served at once."),
]

DATABASE: list[cfg.Opt] = [
    cfg.StrOpt(
        "connection",
        secret=True,
        help="The database's URL: sqlite:///, postgresql+psycopg:// or mysql+pymysql://. Default: sqlite in STATE_DIR.",
    ),
]

CONTROLLER: list[cfg.Opt] = [
    cfg.FloatOpt("host_timeout", default=60, min=1, help="Seconds without a heartbeat until a host counts as lost."),
    cfg.FloatOpt(
        "gone_grace",
        default=60,
        min=0,
        help="Seconds that an instance may be missing before it counts as deleted: a hard reboot defines it anew.",
    ),
    cfg.IntOpt("keep_finished", default=90, min=0, help="Days that the records of finished captures are kept."),
    cfg.StrOpt(
        "lost_host",
        default="fail",
        choices=[("fail", "they fail"), ("wait", "they wait until it is back, or are cancelled")],
        help="What becomes of the captures of a host that is lost.",
    ),
    cfg.IntOpt(
        "max_captures_per_host",
        default=32,
        min=1,
        help="Captures that a host has in hand at once; the others wait, one of each project in turn. An agent takes no"
        " more than 32; its max_transfers are how many of them move bytes.",
    ),
    cfg.IntOpt(
        "max_captures_per_project",
        default=0,
        min=0,
        help="Captures that all hosts together have in hand for one project; the others wait. 0: no limit.",
    ),
]

AGENT: list[cfg.Opt] = [
    cfg.StrOpt("libvirt_uri", default="qemu:///system", help="libvirt's URI."),
    cfg.FloatOpt("heartbeat", default=10, min=0.1, help="Seconds between heartbeats when nothing happens."),
    cfg.FloatOpt("progress_interval", default=0.5, min=0.05, help="Seconds between reports of progress."),
    cfg.IntOpt(
        "max_transfers",
        default=2,
        min=1,
        help="Transfers at once; more only make each slower and keep scratch space longer.",
    ),
    cfg.FloatOpt(
        "guard_grace",
        default=120,
        min=0,
        help="Seconds that the guard keeps backup jobs of a dead agent, for it to come back and go on.",
    ),
    cfg.FloatOpt(
        "guard_silence",
        default=10,
        min=2,
        help="Seconds without a sign of life until the guard takes an agent for dead that hangs or was stopped.",
    ),
]

CAPTURE: list[cfg.Opt] = [
    cfg.StrOpt("scratch_dir", help="Where live backups keep what the guest overwrites. Default: STATE_DIR/scratch."),
    cfg.Opt(
        "scratch_cap",
        type=types.Integer(min=0),
        default=64 * GIB,
        help="The most bytes of scratch for one capture; the capture fails beyond, the guest goes on.",
    ),
    cfg.IntOpt(
        "scratch_reserve",
        default=512 * MIB,
        min=0,
        help="Bytes that stay free on the scratch filesystem whatever happens.",
    ),
    cfg.StrOpt(
        "snapshot_image_format",
        choices=[("raw", "as large as the disk, with holes"), ("qcow2", "as large as the disk's data")],
        help="The format of images. Default: the format of the disk.",
    ),
    cfg.FloatOpt(
        "freeze_timeout",
        default=10,
        min=0.1,
        help="Seconds that the guest may stay frozen at the most; the guard thaws it then. Normally milliseconds.",
    ),
    cfg.FloatOpt("agent_timeout", default=5, min=0.1, help="Seconds to wait for each answer of the guest agent."),
    cfg.FloatOpt("job_wait", default=0, min=0, help="Seconds to wait for another libvirt job to end before failing."),
    cfg.FloatOpt("step_deadline", default=120, min=1, help="Seconds for any step that moves no bytes."),
    cfg.FloatOpt("transfer_stall", default=120, min=1, help="Seconds without a byte after which a transfer fails."),
    cfg.IntOpt("bandwidth", default=0, min=0, help="Bytes a second that one transfer may read; 0: no limit."),
    cfg.BoolOpt("cold", default=False, help="Pause running guests for the whole copy; always resumed afterwards."),
    cfg.BoolOpt("trim", default=False, help="Run fstrim in the guest before the freeze: smaller images."),
    cfg.BoolOpt("allow_decrypted", default=False, help="Capture encrypted disks although the image is decrypted."),
    cfg.BoolOpt(
        "allow_new_instant",
        default=False,
        help="Capture a later instant when the reported one was lost in a restart, instead of failing.",
    ),
    cfg.BoolOpt(
        "pause_for_volumes",
        default=False,
        help="Pause a guest that cannot be frozen while Cinder takes snapshots of its volumes, at most freeze_timeout."
        " Else the capture fails if there are several: Cinder takes them one after the other.",
    ),
    cfg.IntOpt(
        "hash_holes_limit",
        default=64 * GIB,
        min=0,
        help="Raw images with more bytes of holes get no sha256: hashing zeros would take longer than the copy.",
    ),
    cfg.ListOpt(
        "non_inheritable_image_properties",
        default=["cache_in_nova", "bittorrent"],
        help="Properties that an image does not take over from the instance's base image.",
    ),
]

DIRECTORY, IN_GLANCE = "directory", "glance"  # [images] store

IMAGES: list[cfg.Opt] = [
    cfg.StrOpt(
        "store",
        default=DIRECTORY,
        choices=[(DIRECTORY, "[images] directory"), (IN_GLANCE, "Glance, by [glance] and [service_user]")],
        help="Where images go.",
    ),
    cfg.StrOpt("directory", help="The directory of images. Default: STATE_DIR/images."),
    cfg.BoolOpt(
        "rbd_locations",
        default=False,
        help="Publish images that are on RBD by their location (rbd://FSID/POOL/ID/snap), without copying them here."
        " With Glance that is so where it has a store in the image's pool.",
    ),
]

MESSAGING: list[cfg.Opt] = [
    cfg.StrOpt(
        "transport_url",
        secret=True,
        help="Where RabbitMQ is: rabbit://USER:PASSWORD@HOST:PORT/VHOST, several hosts with commas between."
        " For the services of a cloud; `stillframe up` needs none.",
    ),
    cfg.FloatOpt(
        "call_timeout",
        default=10,
        min=0.5,
        help="Seconds that an agent waits for a controller's answer before it asks again.",
    ),
]

NOTIFICATIONS: list[cfg.Opt] = [
    cfg.StrOpt(
        "driver",
        default="noop",
        choices=[
            ("noop", "nobody is told"),
            ("log", "one line each in the log"),
            ("messaging", "RabbitMQ, in Nova's format"),
        ],
        help="Who is told of the beginning and the end of each capture.",
    ),
    cfg.StrOpt(
        "format",
        default="both",
        choices=[
            ("versioned", "topic versioned_notifications"),
            ("unversioned", "topic notifications"),
            ("both", "both topics"),
        ],
        help="Which of Nova's two formats is sent over RabbitMQ.",
    ),
    cfg.StrOpt("transport_url", secret=True, help="RabbitMQ for notifications. Default: [messaging] transport_url."),
]

OWN, STORE = "own", "store"  # what [ceph] target_pool says where it names no pool

CEPH: list[cfg.Opt] = [
    cfg.ListOpt(
        "clusters",
        help="Names, in lower case, of clusters with a section [ceph.NAME] each. Disks need none: libvirt tells.",
    ),
    cfg.StrOpt(
        "target_pool",
        default=OWN,
        help="Where images of disks on RBD are cloned to: `own`, the disk's pool; `store`, store_pool; or a pool.",
    ),
    cfg.StrOpt("store_cluster", help="The cluster, one of `clusters`, that the image store keeps images on RBD in."),
    cfg.StrOpt("store_pool", default="images", help="The pool of store_cluster for images."),
    cfg.StrOpt(
        "flatten",
        default="background",
        choices=[
            ("now", "before the image is published"),
            ("background", "once it is published; it can be used meanwhile"),
            ("never", "the image and the instance's disk stay tied to each other"),
        ],
        help="When a clone is made independent of the disk that it was made from.",
    ),
    cfg.IntOpt("flatten_bandwidth", default=0, min=0, help="Bytes a second of each flattening; 0: no limit."),
    cfg.BoolOpt(
        "convert_ceph_raw_for_qcow2",
        default=False,
        help="Write images of disks that are files, and of other clusters' disks, into store_pool, as raw.",
    ),
    cfg.BoolOpt(
        "enable_verify_image_md5sum",
        default=False,
        help="Give images on RBD the property md5sum, of their raw content; they are read once for it.",
    ),
    cfg.StrOpt(
        "verify",
        default="none",
        choices=[("none", "what Ceph acknowledged is there"), ("read-back", "read again and compared by hash")],
        help="How images written into store_pool are checked before they are published.",
    ),
    cfg.FloatOpt(
        "timeout",
        default=10,
        min=1,
        help="Seconds to wait for a cluster to let us in, to say what is there, or to remove an image.",
    ),
]

CEPH_CLUSTER: list[cfg.Opt] = [
    cfg.ListOpt("monitors", help="The monitors: HOST, HOST:PORT or [v2:HOST:PORT], as in mon_host."),
    cfg.StrOpt("conf", help="A ceph.conf, instead of monitors or besides."),
    cfg.StrOpt("user", default="stillframe", help="The user, without `client.`."),
    cfg.StrOpt("keyring", help="The file with the user's key. Only Stillframe's user should be able to read it."),
]
CLUSTER_GROUP = "ceph."  # followed by the cluster's name

GROUPS: dict[str | None, list[cfg.Opt]] = {
    None: SERVICE,
    "api": API,
    "database": DATABASE,
    "controller": CONTROLLER,
    "agent": AGENT,
    "capture": CAPTURE,
    "images": IMAGES,
    "glance": GLANCE,
    "nova": NOVA,
    "cinder": CINDER,
    "messaging": MESSAGING,
    "notifications": NOTIFICATIONS,
    "ceph": CEPH,
}

R = TypeVar("R")


def list_opts() -> list[tuple[str | None, list[cfg.Opt]]]:
    """Entry point of oslo.config's sample generator."""
    return [*GROUPS.items(), (f"{CLUSTER_GROUP}name", CEPH_CLUSTER)]


def files_of(program: str) -> list[Path]:
    """The configuration files of a service, as far as they exist: everybody's, and after that its own."""
    return [file for file in (CONFIG_FILE, CONFIG_DIRECTORY / f"{program}.conf") if file.exists()]


def load(args: Sequence[str] = (), files: Sequence[Path] | None = None) -> Settings:
    """The settings from configuration files (default: CONFIG_FILE where it exists); raises ConfigInvalid."""
    conf = cfg.ConfigOpts()
    for group, opts in GROUPS.items():
        conf.register_opts(opts, group=group)
    if files is None:
        files = [CONFIG_FILE] if CONFIG_FILE.exists() else []
    try:
        conf(list(args), project="stillframe", default_config_files=[str(file) for file in files])
        return _settings(conf)
    except (cfg.Error, ValueError) as error:
        raise ConfigInvalid(reason=str(error)) from error


def _settings(conf: cfg.ConfigOpts) -> Settings:
    state = Path(conf.state_dir)
    api = _section(Api, conf.api, socket=state / "api.sock")
    _check_api(api)
    if conf.cinder.enable_snapshot_volume_backed and conf.images.store != IN_GLANCE:
        raise ValueError("[cinder] enable_snapshot_volume_backed needs [images] store = glance")
    ceph = _section(Ceph, conf.ceph, clusters=())
    if ceph.store_cluster is not None and ceph.store_cluster not in ceph.clusters:
        raise ValueError(f"[ceph] store_cluster is '{ceph.store_cluster}', which is not among its clusters")
    return Settings(
        service=_section(Service, conf, state_dir=state, host=_hostname()),
        api=api,
        database=_section(Database, conf.database, connection=f"sqlite:///{state}/stillframe.sqlite"),
        controller=_section(Controller, conf.controller),
        agent=_section(Agent, conf.agent),
        capture=_section(Capture, conf.capture, scratch_dir=state / "scratch"),
        images=_section(Images, conf.images, directory=state / "images"),
        glance=_section(Glance, conf.glance, backends=()),
        nova=_nova(_section(Nova, conf.nova), api),
        cinder=_section(Cinder, conf.cinder),
        messaging=_section(Messaging, conf.messaging),
        notifications=_section(Notifications, conf.notifications, transport_url=conf.messaging.transport_url),
        ceph=ceph,
        ceph_clusters=tuple(_cluster(conf, name) for name in ceph.clusters),
        oslo=conf,
    )


def _section(kind: type[R], group: Any, **defaults: Any) -> R:
    """The record of one group; `defaults` are those that depend on other options."""
    values: dict[str, Any] = {}
    for each in fields(kind):  # type: ignore[arg-type]
        value = getattr(group, each.name, None)
        if value is None:
            value = defaults.get(each.name)
        if isinstance(value, str) and str(each.type).startswith("Path"):
            value = Path(value)
        values[each.name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


def _cluster(conf: cfg.ConfigOpts, name: str) -> CephCluster:
    group = f"{CLUSTER_GROUP}{name}"
    conf.register_opts(CEPH_CLUSTER, group=group)
    cluster = _section(CephCluster, conf[group], name=name, monitors=())
    if not cluster.monitors and cluster.conf is None:
        raise ValueError(f"[{group}] has neither monitors nor conf")
    return cluster


def _hostname() -> str:
    return socket.gethostname()


def _nova(nova: Nova, api: Api) -> Nova:
    if nova.pass_through and api.auth != KEYSTONE:
        raise ValueError(f"[nova] pass_through needs [api] auth = {KEYSTONE}: Nova knows no other users")
    return nova


def _check_api(api: Api) -> None:
    if api.listen is None:
        return
    address, _, port = api.listen.rpartition(":")
    if not address or not port.isdigit():
        raise ValueError(f"[api] listen is '{api.listen}', not ADDRESS:PORT")
    if api.auth == "none" and address.strip("[]") not in ("127.0.0.1", "::1", "localhost"):
        raise ValueError(f"[api] auth = none is for loopback only, and listen is '{api.listen}'")
    if api.auth == "http_basic" and api.password_file is None:
        raise ValueError("[api] auth = http_basic needs password_file")
