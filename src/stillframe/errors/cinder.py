"""What Cinder answers, or does not."""

from __future__ import annotations

from stillframe.errors.base import StillframeError


class CinderUnreachable(StillframeError):
    code, status = "cinder-unreachable", 503
    sentence = "The volume service cannot be reached: {reason}."
    hint = "Check that Cinder and Keystone run, [cinder] and [service_user]."


class CinderFailed(StillframeError):
    code, status = "cinder-failed", 502
    sentence = "The volume service could not {what}: it answered {answer}."
    hint = "Cinder's log tells why; the operator's part has its own words."


class VolumeForbidden(StillframeError):
    code, status = "volume-forbidden", 403
    sentence = "The volume service does not allow to {what}: {reason}."
    hint = "Check roles and Cinder's policy; what a user may not do there, Stillframe does not do for him."


class VolumeQuotaExceeded(StillframeError):
    code, status = "volume-quota-exceeded", 403
    sentence = "The volume service has no room to {what}: {reason}."
    hint = "Delete snapshots or volumes, or have the project's quota raised."


class VolumeRefused(StillframeError):
    code, status = "volume-refused", 409
    sentence = "The volume service refused to {what}: {reason}."
    hint = "Correct what it says and capture again."


class SnapshotFailed(StillframeError):
    code, status = "snapshot-failed", 500
    sentence = "Snapshot {snapshot} of volume {volume} was not taken: it is '{state}'."
    hint = "The log of the volume service (cinder-volume) tells why. The snapshots of the other volumes were removed."


class SnapshotsLate(StillframeError):
    code, status = "snapshots-late", 409
    sentence = "The snapshots were taken for an attempt at the capture that has ended meanwhile."
    hint = "They were removed. Capture again."


class VolumesInMotion(StillframeError):
    code, status = "volumes-in-motion", 409
    sentence = "The volumes of instance {instance} would not be of one instant: {reason}."
    hint = "Check the guest agent; or set [capture] pause_for_volumes to pause guests that cannot be frozen."
