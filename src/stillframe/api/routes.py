"""Every URL of the service, on one screen."""

from __future__ import annotations

from collections.abc import Mapping

from stillframe.api.beside import Way, Ways
from stillframe.api.call import Handler
from stillframe.api.deps import Deps
from stillframe.api.handlers import versions
from stillframe.api.handlers.all_actions import AllActions
from stillframe.api.handlers.captures import CaptureHandlers
from stillframe.api.handlers.capturing import Capturing
from stillframe.api.handlers.flavors import Flavors
from stillframe.api.handlers.images import ImageHandlers, elsewhere
from stillframe.api.handlers.instance_actions import InstanceActions
from stillframe.api.handlers.limits import Limits
from stillframe.api.handlers.servers import Servers
from stillframe.api.handlers.service import Service
from stillframe.api.imaging import imaging
from stillframe.api.policy import Policy
from stillframe.api.volumes import Volumes
from stillframe.images.directory import DirectoryStore

Table = Mapping[str, Mapping[str, Handler]]  # URL -> method -> handler

COMPUTE_ROOTS = ("/v2.1", "/v2.1/{url_project}", "/v2", "/v2/{url_project}")  # old clients name their project
IMAGE_ROOTS = ("/image/v2", "/v2.1/v2")  # without Keystone novaclient has one endpoint and adds /v2/images to it


def compute(deps: Deps, policy: Policy) -> Table:
    """Below each of COMPUTE_ROOTS."""
    servers, flavors, limits = Servers(deps, policy), Flavors(deps, policy), Limits(deps, policy)
    captures, own_actions = CaptureHandlers(deps, policy), InstanceActions(deps, policy)
    actions = AllActions(deps, policy, own_actions, deps.relay) if deps.relay is not None else own_actions
    volumes = Volumes(deps.volumes, deps.settings.cinder, deps.captures) if deps.volumes else None
    capturing = Capturing(deps, policy, imaging(deps, policy, volumes), volumes)
    return {
        "/servers": {"GET": servers.index},
        "/servers/detail": {"GET": servers.detail},
        "/servers/{server_id}": {"GET": servers.show},
        "/servers/{server_id}/action": {"POST": capturing.action},
        "/servers/{server_id}/os-instance-actions": {"GET": actions.index},
        "/servers/{server_id}/os-instance-actions/{request_id}": {"GET": actions.show},
        "/flavors": {"GET": flavors.index},
        "/flavors/detail": {"GET": flavors.detail},
        "/flavors/{flavor_id}": {"GET": flavors.show},
        "/limits": {"GET": limits.show},
        "/captures": {"GET": captures.index, "POST": capturing.create},
        "/captures/{capture_id}": {"GET": captures.show, "DELETE": captures.cancel},
    }


# What of it is Stillframe's where Nova is behind; all else is Nova's: names, flavors, servers without a host
BESIDE_NOVA: Ways = {
    "/servers/detail": {"GET": Way.TASK_STATES},
    "/servers/{server_id}": {"GET": Way.TASK_STATES},
    "/servers/{server_id}/action": {"POST": Way.ACTION},
    "/servers/{server_id}/os-instance-actions": {"GET": Way.TOGETHER},
    "/servers/{server_id}/os-instance-actions/{request_id}": {"GET": Way.TOGETHER},
    "/captures": {"GET": Way.OWN, "POST": Way.OWN},
    "/captures/{capture_id}": {"GET": Way.OWN, "DELETE": Way.OWN},
}


def image(deps: Deps, store: DirectoryStore, policy: Policy) -> Table:
    """Below each of IMAGE_ROOTS, where images are in a directory."""
    images = ImageHandlers(deps, store, policy)
    return {
        "/images": {"GET": images.index},
        "/images/{image_id}": {"GET": images.show, "DELETE": images.delete},
        "/images/{image_id}/file": {"GET": images.file},
        "/schemas/image": {"GET": images.image_schema},
        "/schemas/images": {"GET": images.images_schema},
    }


def images_elsewhere() -> Table:
    """Below each of IMAGE_ROOTS, where images are in Glance: who asks here is told so."""
    paths = {"/images": ("GET",), "/images/{image_id}": ("GET", "DELETE"), "/images/{image_id}/file": ("GET",)}
    return {path: dict.fromkeys(methods, elsewhere) for path, methods in paths.items()}


def service(deps: Deps, policy: Policy) -> Table:
    """For whoever is signed in."""
    return {"/metrics": {"GET": Service(deps, policy).metrics}}


def public(deps: Deps, policy: Policy) -> Table:
    """For anybody."""
    compute_versions = versions.Versions(deps)
    return {
        "/": {"GET": compute_versions.compute},
        "/v2.1": {"GET": compute_versions.current},
        "/v2": {"GET": compute_versions.legacy},
        "/image": {"GET": versions.image_choices},
        "/image/versions": {"GET": versions.image},
        "/healthcheck": {"GET": Service(deps, policy).healthcheck},
    }
