"""[nova]: how Stillframe stands beside Nova. A part of config.py."""

from __future__ import annotations

from dataclasses import dataclass

from oslo_config import cfg


@dataclass(frozen=True, slots=True)
class Nova:
    """[nova]; keystoneauth's own options of where it is are in the same group"""

    pass_through: bool
    coordinate: bool
    when_away: str
    timeout: float


FAIL, GO_ON = "fail", "go_on"  # [nova] when_away

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
