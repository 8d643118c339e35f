"""What Keystone and Glance answer, or do not."""

from __future__ import annotations

from stillframe.errors.base import StillframeError
from stillframe.errors.request import NotSignedIn


class TokenNeeded(NotSignedIn):
    code, status = "token-needed", 401
    sentence = "This request needs a token of Keystone that is valid."
    hint = "Sign in again: tokens expire."


class ProjectNeeded(StillframeError):
    code, status = "project-needed", 403
    sentence = "This token is for no project."
    hint = "Ask Keystone for a token of a project (OS_PROJECT_NAME), not of a domain or the system."


class KeystoneUnreachable(StillframeError):
    code, status = "keystone-unreachable", 503
    sentence = "Keystone does not answer, so nobody can tell whose token this is."
    hint = "Try again; an administrator checks Keystone and [keystone_authtoken]."


class GlanceUnreachable(StillframeError):
    code, status = "glance-unreachable", 503
    sentence = "The image service cannot be reached: {reason}."
    hint = "Check that Glance and Keystone run, [glance] and [service_user]."


class GlanceFailed(StillframeError):
    code, status = "glance-failed", 502
    sentence = "The image service could not {what}: it answered {answer}."
    hint = "Glance's log tells why; the operator's part has its own words."


class ImageForbidden(StillframeError):
    code, status = "image-forbidden", 403
    sentence = "The image service does not allow to {what}: {reason}."
    hint = "Check roles and Glance's policy; what a user may not do there, Stillframe does not do for him."


class ImageQuotaExceeded(StillframeError):
    code, status = "image-quota-exceeded", 403
    sentence = "The image service has no room to {what}: {reason}."
    hint = "Delete images, or have the project's quota or the store's room raised."


class ImageRefused(StillframeError):
    code, status = "image-refused", 400
    sentence = "The image service refused to {what}: {reason}."
    hint = "Correct what it says and capture again."


class ImageNotReserved(StillframeError):
    code, status = "image-not-reserved", 503
    sentence = "The record of image {image} was not made within {seconds:g} seconds."
    hint = "The API process that accepted the capture has ended meanwhile. Capture again."


class ImageDeleted(StillframeError):
    code, status = "image-deleted", 409
    sentence = "Image {image} was deleted while it was being made."
    hint = "Capture again if you did not mean it."


class ImageStuck(StillframeError):
    code, status = "image-stuck", 409
    sentence = "Image {image} takes no data: it is '{state}' {seconds:g} seconds after an upload into it was cut off."
    hint = "It was deleted. Glance gives nobody such an image back, as when it was killed; capture again."


class ImageDiffers(StillframeError):
    code, status = "image-differs", 500
    sentence = "Image {image} is not what was sent: its {algorithm} is {found} instead of {expected}."
    hint = "It was deleted. Check Glance's store before anything else."


class ImageIncomplete(StillframeError):
    code, status = "image-incomplete", 502
    sentence = "Image {image} did not get the last of its data: it is '{state}'."
    hint = "It was deleted. Check Glance and what lies between; then capture again."


class UploadCutOff(StillframeError):
    code, status = "upload-cut-off", 502
    sentence = "The upload of image {image} was cut off at byte {offset} of {size}: {reason}."
    hint = "Check Glance and what lies between, such as a balancer's time limits; then capture again."


class LocationRefused(StillframeError):
    code, status = "location-refused", 409
    sentence = "Glance does not take the location of image {image}: {reason}."
    hint = (
        "The controller's [service_user] needs the role service (or Glance show_multiple_locations), and the user of"
        " Glance's store the right to read the pool."
    )


class NoStoreInGlance(StillframeError):
    code, status = "no-store-in-glance", 409
    sentence = "Glance has no store in the image's Ceph pool."
    hint = "Give it one (type rbd, with that pool), or have images go to another pool: [ceph] target_pool, store_pool."
    for_operator = "pool {pool} of cluster {fsid}; on RBD Glance has {stores}"


class ImagesInGlance(StillframeError):
    code, status = "images-in-glance", 404
    sentence = "Images are in Glance, and not served here."
    hint = "Ask Glance, as one of its users: `stillframe --os-cloud CLOUD image list`, or `openstack image list`."
