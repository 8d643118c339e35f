"""What Ceph clusters answer, or do not."""

from __future__ import annotations

from stillframe.errors.base import StillframeError


class CephUnreachable(StillframeError):
    code, status = "ceph-unreachable", 503
    sentence = "A Ceph cluster did not answer within {seconds:g} seconds."
    hint = "Check that its monitors run and that this host reaches them."
    for_operator = "monitors {monitors}"


class CephRefused(StillframeError):
    code, status = "ceph-refused", 403
    sentence = "A Ceph cluster did not let in the user of this service."
    hint = "Check the user's name and key (ceph auth get), and that the monitors have a quorum."
    for_operator = "client.{user}, monitors {monitors}"


class CephForbidden(StillframeError):
    """`may`: what the user was to do, as in "take snapshots"; `caps`: the OSD capability that would allow it."""

    code, status = "ceph-forbidden", 403
    sentence = "The Ceph user of this service may not {may}."
    hint = "The operator's part has the user, the pool and the command that allows it."
    for_operator = (
        "client.{user} may not {may} in pool {pool}; add it to what the user has (ceph auth get client.{user}):"
        " ceph auth caps client.{user} mon 'profile rbd' osd '..., {caps} pool={pool}'"
    )


class CephFailed(StillframeError):
    code, status = "ceph-failed", 500
    sentence = "The Ceph cluster could not {what}."
    hint = "The operator's part has its own words; `ceph health detail` may tell more."


class CephFull(StillframeError):
    code, status = "ceph-full", 507
    sentence = "The Ceph cluster takes no more data: it, or the pool's quota, is full."
    hint = "Add room or raise the quota (ceph df, ceph osd pool get-quota)."
    for_operator = "pool {pool}"


class WrongCluster(StillframeError):
    code, status = "wrong-cluster", 409
    sentence = "The monitors that lead to a disk or an image belong to another Ceph cluster now."
    hint = "Nothing was touched there. Pools of different clusters have the same names; check the monitors' addresses."
    for_operator = "{what} is expected in {expected}, and was looked for in {found}"


class PoolMissing(StillframeError):
    code, status = "pool-missing", 409
    sentence = "The Ceph cluster does not have a pool that is needed."
    hint = "Create it (ceph osd pool create, rbd pool init), or name another one."
    for_operator = "pool {pool}"


class RbdMissing(StillframeError):
    code, status = "rbd-missing", 409
    sentence = "An image or a snapshot on RBD is not there."
    hint = "It may have been deleted meanwhile; look with rbd ls and rbd snap ls."
    for_operator = "{what}"


class RbdNameTaken(StillframeError):
    code, status = "rbd-name-taken", 409
    sentence = "The name of an image or a snapshot on RBD is taken by another one."
    hint = "Nothing was replaced. Look whose it is with rbd info."
    for_operator = "{what}"


class RbdInUse(StillframeError):
    code, status = "rbd-in-use", 409
    sentence = "An image or a snapshot on RBD cannot be removed: {reason}."
    hint = "It goes once nobody uses it any more."
    for_operator = "{what}"


class BeingGivenBack(StillframeError):
    """No failure: giving something back takes its time, and goes on."""

    code, status = "being-given-back", 409
    sentence = "{how}"
    hint = "Nothing needs to be done."
