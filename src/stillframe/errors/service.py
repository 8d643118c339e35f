"""What keeps a service from working, or from starting."""

from __future__ import annotations

from stillframe.errors.base import StillframeError


class ControllerUnreachable(StillframeError):
    code, status = "controller-unreachable", 503
    sentence = "No controller could be asked: {reason}."
    hint = "Check RabbitMQ, [messaging] transport_url, and that a stillframe-controller runs."


class ConfigInvalid(StillframeError):
    code, status = "config-invalid", 500
    sentence = "The configuration cannot be used: {reason}"
    hint = "`stillframe config sample` prints every option with its default."


class StateDirectoryInUse(StillframeError):
    code, status = "state-directory-in-use", 500
    sentence = "The state directory {path} is used by another Stillframe, process {pid}."
    hint = "Stop that one first, or give this one a state_dir of its own."


class AddressInUse(StillframeError):
    code, status = "address-in-use", 500
    sentence = "The API cannot listen on {address}: {reason}."
    hint = "Stop what listens there, or choose another address in [api]."


class StoreUnusable(StillframeError):
    code, status = "store-unusable", 503
    sentence = "The image store {store} cannot be used: {reason}."
    hint = "Check that the directory exists and that Stillframe may write there."


class ImageExists(StillframeError):
    code, status = "image-exists", 409
    sentence = "Image {image} is already in the image store, and it is not this one."
    hint = "Nothing was replaced. Capture again under a new id."


class ImageInUse(StillframeError):
    code, status = "image-in-use", 409
    sentence = (
        "Image {image} cannot be deleted: {count} that depend on it were cloned from it, such as disks of servers."
    )
    hint = "Delete those first, or have them flattened (rbd flatten); an administrator finds them with rbd children."


class ImageElsewhere(StillframeError):
    code, status = "image-elsewhere", 409
    sentence = "Image {image} has no file here: its bytes are on Ceph."
    hint = "Boot servers from it, or have an administrator export it there (rbd export); its record tells the location."


class DatabaseUnusable(StillframeError):
    code, status = "database-unusable", 503
    sentence = "The database cannot be used: {reason}."
    hint = "Check that it runs, that its disk has room, and that this release is not older than its schema."


class PublicationUnknown(StillframeError):
    code, status = "publication-unknown", 500
    sentence = "Whether the image was published cannot be told: {reason}."
    hint = "Look at the image; if it is not there or not whole, delete it and capture again."


class JournalFailed(StillframeError):
    code, status = "journal-failed", 507
    sentence = "The agent's journal could not be used ({what}), and without it nothing is begun."
    hint = "Check the space and the health of the state directory's filesystem."


class GuardUnavailable(StillframeError):
    code, status = "guard-unavailable", 503
    sentence = "The guard, which would give the guest back if the agent died, does not answer."
    hint = "Nothing was done to the guest. The log tells why the guard could not be started."
