"""[glance], [cinder], [nova]: the cloud that Stillframe stands in. A part of config.py."""

from __future__ import annotations

from dataclasses import dataclass

from oslo_config import cfg


@dataclass(frozen=True, slots=True)
class Glance:
    """[glance]; keystoneauth's own options of where it is are in the same group"""

    backends: tuple[str, ...]
    retries: int
    timeout: float
    stuck_after: float


@dataclass(frozen=True, slots=True)
class Cinder:
    """[cinder]; keystoneauth's own options of where it is are in the same group"""

    enable_snapshot_volume_backed: bool
    patience: float
    timeout: float


@dataclass(frozen=True, slots=True)
class Nova:
    """[nova]; keystoneauth's own options of where it is are in the same group"""

    pass_through: bool
    coordinate: bool
    when_away: str
    timeout: float


FAIL, GO_ON = "fail", "go_on"  # [nova] when_away

GLANCE: list[cfg.Opt] = [
    cfg.ListOpt(
        "backends",
        deprecated_name="glance_backend_config",
        help="Glance's stores for uploads: the first one that it has is taken. Default: its default store.",
    ),
    cfg.IntOpt(
        "retries", default=3, min=0, help="How often an upload that was cut off begins again, from its instant."
    ),
    cfg.FloatOpt("timeout", default=30, min=1, help="Seconds for each answer of Glance that moves no bytes."),
    cfg.FloatOpt(
        "stuck_after",
        default=60,
        min=1,
        help="Seconds that an image may go on saving what nobody sends any more: Glance needs some to notice a cut.",
    ),
]

CINDER: list[cfg.Opt] = [
    cfg.BoolOpt(
        "enable_snapshot_volume_backed",
        default=False,
        help="createImage of a server that boots from a volume makes, as Nova does, an image without data that names"
        " Cinder's snapshots of all its volumes. Default: an image of its root volume's bytes.",
    ),
    cfg.FloatOpt(
        "patience",
        default=60,
        min=1,
        help="Seconds that such a request waits for its server's host to hold the guest still, and then for Cinder.",
    ),
    cfg.FloatOpt("timeout", default=30, min=1, help="Seconds for each answer of Cinder."),
]

NOVA: list[cfg.Opt] = [
    cfg.BoolOpt(
        "pass_through",
        default=False,
        help="Pass on to Nova whatever Stillframe does not serve itself, so that this can be the cloud's compute"
        " endpoint. endpoint_override tells where Nova is; else the catalogue, whose entry must not be this service.",
    ),
    cfg.BoolOpt(
        "coordinate",
        default=False,
        help="Ask Nova before each capture, lock its server meanwhile, and give up when Nova does something with it.",
    ),
    cfg.StrOpt(
        "when_away",
        default=FAIL,
        choices=[(FAIL, "it is refused"), (GO_ON, "it is made without a lock, and says so")],
        help="What becomes of a capture when Nova cannot be asked. For coordinate.",
    ),
    cfg.FloatOpt(
        "timeout",
        default=120,
        min=1,
        help="Seconds that Nova has to begin an answer, and again to end it. Some of its calls wait for a hypervisor.",
    ),
]
